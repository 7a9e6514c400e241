//! The topics of a viewer, and their names in systems that route by name only.

use joey_shared::series::{Filter, SeriesKey, Topic};

/// How finely published data is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grain {
    /// By application: sufficient if every viewer subscribes to everything.
    App,
    /// By application, category and name, so that viewers can choose.
    Series,
}

/// The topic of a whole application.
pub(crate) fn app_topic(app: &str) -> Topic {
    Topic { app: app.to_owned(), filter: Filter::All }
}

/// The channel of a topic, with parts separated by slashes. The channel of a wider topic is its prefix.
pub(crate) fn channel(topic: &Topic) -> String {
    match &topic.filter {
        Filter::All => topic.app.clone(),
        Filter::Category(category) => format!("{}/{category}", topic.app),
        Filter::Series(SeriesKey { category, name, .. }) => {
            format!("{}/{category}/{}", topic.app, name.replace(' ', "_"))
        }
    }
}

/// A pattern for everything within a topic; `rest` matches the remaining parts.
pub(crate) fn pattern(topic: &Topic, grain: Grain, rest: &str) -> String {
    let is_leaf = grain == Grain::App || matches!(topic.filter, Filter::Series(_));
    if is_leaf { channel(topic) } else { format!("{}/{rest}", channel(topic)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_begins_with_the_channel_of_a_wider_topic() {
        let key = |name: &str| SeriesKey {
            category: "computation".to_owned(),
            pipeline: "Alerts".to_owned(),
            worker: "initializer".to_owned(),
            name: name.to_owned(),
        };
        let series = Topic { app: "bench".to_owned(), filter: Filter::Series(key("a b")) };
        assert_eq!(channel(&series), "bench/computation/a_b");
        assert_eq!(pattern(&series, Grain::Series, "#"), "bench/computation/a_b");
        assert_eq!(pattern(&app_topic("bench"), Grain::Series, "#"), "bench/#");
        assert_eq!(pattern(&app_topic("bench"), Grain::App, "#"), "bench");
    }
}
