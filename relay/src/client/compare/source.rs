//! What `joey compare` compares: an application of a recording or of a relay, as `FILE`, `APP@FILE`, `APP@URL` or `APP@`.

use std::path::{Path, PathBuf};

use super::super::Outcome;
use super::super::args::{Target, parse_relay};
use super::super::snapshot::{self, Snapshot};

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    text: String,
    app: Option<String>,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    File(PathBuf),
    /// The address of a relay.
    Relay(String),
    /// The relay of the option `--relay`.
    DefaultRelay,
}

/// Parses a source. The name of an existing file is that file, whatever it contains.
pub(crate) fn parse_source(text: &str) -> Result<Source, String> {
    let source = |app: Option<&str>, place| Source { text: text.to_owned(), app: app.map(str::to_owned), place };
    if Path::new(text).exists() {
        return Ok(source(None, Place::File(text.into())));
    }
    // An address has no `@`, but a name may have.
    match text.rsplit_once('@') {
        None => Ok(source(None, Place::File(text.into()))),
        Some(("", _)) => Err("it must be FILE, APP@FILE, APP@URL or APP@".to_owned()),
        Some((app, "")) => Ok(source(Some(app), Place::DefaultRelay)),
        Some((app, place)) if place.contains("://") => Ok(source(Some(app), Place::Relay(parse_relay(place)?))),
        Some((app, place)) => Ok(source(Some(app), Place::File(place.into()))),
    }
}

impl Source {
    /// As the user wrote it.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Reads its windows of `seconds`. The inner error is that there is no such application.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or if no relay is reachable and the client must not wait.
    pub(super) async fn load(&self, target: &Target, seconds: u64) -> anyhow::Result<Result<Snapshot, Outcome>> {
        let app = self.app.as_deref();
        match &self.place {
            Place::File(file) => snapshot::of_file(file, app, seconds),
            Place::Relay(address) => {
                let target = Target { relay: vec![address.clone()], ..target.clone() };
                snapshot::of_relay(&target, app.unwrap_or_default(), seconds).await
            }
            Place::DefaultRelay => snapshot::of_relay(target, app.unwrap_or_default(), seconds).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_files_or_applications_of_a_file_or_relay() {
        let check = |text: &str, app: Option<&str>, place: Place| {
            let source = parse_source(text).expect(text);
            assert_eq!((source.app.as_deref(), source.place), (app, place), "{text}");
        };
        check("no-such.joey", None, Place::File("no-such.joey".into()));
        check("Web Shop@no-such.joey", Some("Web Shop"), Place::File("no-such.joey".into()));
        check("a@b@no-such.joey", Some("a@b"), Place::File("no-such.joey".into()));
        check("App@ws://relay:4000", Some("App"), Place::Relay("ws://relay:4000/ws".into()));
        check("App@", Some("App"), Place::DefaultRelay);
        for invalid in ["@", "@file", "App@ftp://relay"] {
            assert!(parse_source(invalid).is_err(), "{invalid}");
        }
    }
}
