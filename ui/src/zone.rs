//! The UTC offset of a time zone at an instant. Only the browser knows the rules of the zones.

use std::cell::RefCell;
use std::collections::BTreeMap;

use js_sys::{Array, Date, Function, Object, Reflect};
use wasm_bindgen::{JsCast, JsValue};

use crate::settings::choices::Zone;
use crate::time_format::UtcOffset;

/// How long an offset stays valid, in ns: zones change their offset at whole quarters of an hour.
const QUARTER_NS: u64 = 900_000_000_000;

/// Maximum number of remembered offsets. The longest window has five quarters.
const OFFSETS_MAX: usize = 256;

/// The formatter of a zone, and offsets that it has computed.
struct Named {
    name: String,
    format_to_parts: Function,
    formatter: JsValue,
    offsets: BTreeMap<u64, UtcOffset>,
}

thread_local! {
    /// To create a formatter takes the browser long. One zone is in use.
    static NAMED: RefCell<Option<Named>> = const { RefCell::new(None) };
}

/// The UTC offset in `zone` at `ns` since the Unix epoch. That of this computer if the browser does not know the zone.
#[must_use]
pub fn utc_offset(zone: &Zone, ns: u64) -> UtcOffset {
    match zone {
        Zone::Utc => UtcOffset::UTC,
        Zone::Local => local_offset(ns),
        Zone::Named(name) => named_offset(name, ns).unwrap_or_else(|| local_offset(ns)),
    }
}

/// Whether the browser knows `zone`.
#[must_use]
pub fn is_known(zone: &Zone) -> bool {
    match zone {
        Zone::Utc | Zone::Local => true,
        Zone::Named(name) => Named::new(name).is_some(),
    }
}

/// The names of the zones that the browser knows; none in an older browser.
#[must_use]
pub fn names() -> Vec<String> {
    let list = || {
        let intl = intl()?;
        let function = Reflect::get(&intl, &"supportedValuesOf".into()).ok()?.dyn_into::<Function>().ok()?;
        function.call1(&intl, &"timeZone".into()).ok()?.dyn_into::<Array>().ok()
    };
    list().map(|names| names.iter().filter_map(|name| name.as_string()).collect()).unwrap_or_default()
}

fn local_offset(ns: u64) -> UtcOffset {
    let date = Date::new(&((ns / 1_000_000) as f64).into());
    UtcOffset(-(date.get_timezone_offset() * 60.0) as i64)
}

fn named_offset(name: &str, ns: u64) -> Option<UtcOffset> {
    NAMED.with_borrow_mut(|known| {
        if known.as_ref().is_none_or(|known| known.name != name) {
            *known = Some(Named::new(name)?);
        }
        known.as_mut()?.offset(ns)
    })
}

fn intl() -> Option<JsValue> {
    Reflect::get(&js_sys::global(), &"Intl".into()).ok()
}

impl Named {
    fn new(name: &str) -> Option<Self> {
        let options = Object::new();
        let date = ["year", "month", "day", "hour", "minute", "second"].map(|part| (part, "numeric"));
        let fixed = [("timeZone", name), ("calendar", "iso8601"), ("numberingSystem", "latn"), ("hourCycle", "h23")];
        for (option, value) in fixed.into_iter().chain(date) {
            Reflect::set(&options, &option.into(), &value.into()).ok()?;
        }
        let class = Reflect::get(&intl()?, &"DateTimeFormat".into()).ok()?.dyn_into::<Function>().ok()?;
        // An unknown zone is an exception.
        let formatter = Reflect::construct(&class, &Array::of2(&"en-US".into(), &options)).ok()?;
        let format_to_parts = Reflect::get(&formatter, &"formatToParts".into()).ok()?.dyn_into().ok()?;
        Some(Self { name: name.to_owned(), format_to_parts, formatter, offsets: BTreeMap::new() })
    }

    fn offset(&mut self, ns: u64) -> Option<UtcOffset> {
        let quarter = ns / QUARTER_NS;
        if let Some(offset) = self.offsets.get(&quarter) {
            return Some(*offset);
        }
        let offset = self.computed_offset(quarter * QUARTER_NS)?;
        if self.offsets.len() == OFFSETS_MAX {
            self.offsets.clear();
        }
        self.offsets.insert(quarter, offset);
        Some(offset)
    }

    fn computed_offset(&self, ns: u64) -> Option<UtcOffset> {
        let ms = (ns / 1_000_000) as f64;
        let parts =
            self.format_to_parts.call1(&self.formatter, &Date::new(&ms.into())).ok()?.dyn_into::<Array>().ok()?;
        let part = |name: &str| {
            let text = |part: &JsValue, field: &str| Reflect::get(part, &field.into()).ok()?.as_string();
            let part = parts.iter().find(|part| text(part, "type").as_deref() == Some(name))?;
            text(&part, "value")?.parse::<f64>().ok()
        };
        let local_ms = Date::utc(part("year")?, part("month")? - 1.0);
        let seconds =
            (part("day")? - 1.0) * 86_400.0 + part("hour")? * 3_600.0 + part("minute")? * 60.0 + part("second")?;
        Some(UtcOffset(((local_ms - ms) / 1_000.0 + seconds) as i64))
    }
}
