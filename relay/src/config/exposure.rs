//! Whether the relay may listen on the configured addresses without access rules.

use std::net::SocketAddr;

use super::Config;

/// Why the relay must not listen on the addresses of `config`; nothing where it may.
///
/// # Errors
/// When an address is not loopback, nothing says who may come in there, and nothing says that this is wanted.
pub fn check_exposure(config: &Config) -> anyhow::Result<()> {
    let is_open = |address: SocketAddr| !config.insecure_open && !address.ip().is_loopback();
    anyhow::ensure!(
        !is_open(config.http) || (!config.origins.is_empty() && !config.token_keys.is_empty()),
        "--http {} is not a loopback address, so anybody who reaches it could watch: say which pages may with --origin and \
         whose tokens count with --token-key, or say --insecure-open",
        config.http
    );
    anyhow::ensure!(
        !is_open(config.ingest) || config.producers_allow.is_some(),
        "--ingest {} is not a loopback address, so anybody who reaches it could send: say who may with --producers-allow, \
         or say --insecure-open",
        config.ingest
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_loopback_the_relay_wants_to_be_told_who_may_come() {
        let open = |http: &str, ingest: &str, told: fn(&mut Config)| {
            let mut config =
                Config { http: http.parse().unwrap(), ingest: ingest.parse().unwrap(), ..Config::default() };
            told(&mut config);
            check_exposure(&config).map_err(|error| error.to_string())
        };
        let (here, all) = ("127.0.0.1:0", "0.0.0.0:0");
        let origins = |config: &mut Config| config.origins = vec!["https://ui.example".to_owned()];
        let keys = |config: &mut Config| config.token_keys = vec!["key".into()];
        assert_eq!(open(here, here, |_| {}), Ok(()));
        assert_eq!(open("[::1]:0", "[::1]:0", |_| {}), Ok(()));
        for told in [|_: &mut Config| {}, origins, keys] {
            assert!(open(all, here, told).unwrap_err().contains("--token-key"));
        }
        let both = |config: &mut Config| {
            config.origins = vec!["https://ui.example".to_owned()];
            config.token_keys = vec!["key".into()];
        };
        assert_eq!(open(all, here, both), Ok(()));
        assert!(open(here, "[::]:0", both).unwrap_err().contains("--producers-allow"));
        assert_eq!(open(here, all, |config| config.producers_allow = Some(vec!["10.0.0.0/8".to_owned()])), Ok(()));
        assert_eq!(open(all, all, |config| config.insecure_open = true), Ok(()));
    }
}
