//! A struct of metrics, each of which is registered under the name of its field, with its documentation as the help text.

/// Defines a struct of metrics and a method that registers all of them. The documentation of a field is one line. Fields
/// in `sets` are structs of metrics themselves, and are not registered.
macro_rules! metric_set {
    (
        $(#[$attribute:meta])*
        pub struct $name:ident {
            $(#[doc = $help:literal] pub $field:ident: $metric:ty,)*
        }
        $(sets { $($(#[$set_attribute:meta])* pub $set_field:ident: $set:ty,)* })?
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, Default)]
        pub struct $name {
            $(#[doc = $help] pub $field: $metric,)*
            $($($(#[$set_attribute])* pub $set_field: $set,)*)?
        }

        impl $name {
            /// Adds the metrics to `registry`.
            pub(super) fn register(&self, registry: &mut prometheus_client::registry::Registry) {
                // The registry adds the full stop again.
                let help = |text: &str| text.trim().trim_end_matches('.').to_owned();
                $(registry.register(stringify!($field), help($help), self.$field.clone());)*
            }
        }
    };
}

pub(super) use metric_set;
