//! What a viewer watches, and what that is called in systems that route by a name alone.

use joey_shared::series::{Filter, SeriesKey, Topic};

/// How finely what is published is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grain {
    /// By its application: all that anybody wants when everybody wants everything.
    App,
    /// By application, category and name, so that viewers can choose.
    Series,
}

/// All of an application.
pub(crate) fn whole(app: &str) -> Topic {
    Topic { app: app.to_owned(), filter: Filter::All }
}

/// The name of a topic, its parts between slashes. One that covers another begins as that does.
pub(crate) fn channel(topic: &Topic) -> String {
    match &topic.filter {
        Filter::All => topic.app.clone(),
        Filter::Category(category) => format!("{}/{category}", topic.app),
        Filter::Series(SeriesKey { category, name, .. }) => {
            format!("{}/{category}/{}", topic.app, name.replace(' ', "_"))
        }
    }
}

/// A pattern for everything that a topic covers, where `rest` stands for whatever follows.
pub(crate) fn pattern(topic: &Topic, grain: Grain, rest: &str) -> String {
    let is_leaf = grain == Grain::App || matches!(topic.filter, Filter::Series(_));
    if is_leaf { channel(topic) } else { format!("{}/{rest}", channel(topic)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_begins_as_what_covers_it() {
        let key = |name: &str| SeriesKey {
            category: "computation".to_owned(),
            pipeline: "Alerts".to_owned(),
            worker: "initializer".to_owned(),
            name: name.to_owned(),
        };
        let series = Topic { app: "bench".to_owned(), filter: Filter::Series(key("a b")) };
        assert_eq!(channel(&series), "bench/computation/a_b");
        assert_eq!(pattern(&series, Grain::Series, "#"), "bench/computation/a_b");
        assert_eq!(pattern(&whole("bench"), Grain::Series, "#"), "bench/#");
        assert_eq!(pattern(&whole("bench"), Grain::App, "#"), "bench");
    }
}
