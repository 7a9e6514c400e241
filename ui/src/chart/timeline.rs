//! The timeline: the latency heatmap, below it events per second on the same time axis, and a crosshair through both.
//!
//! Second `k` is drawn from `k - 1` to `k`, because a period is identified by its end. Rates are steps, because a
//! producer reports one number for a period. Seconds that are incomplete, missing or before the first update are
//! hatched.

use super::heatmap;
use super::latency_axis::visible_range;
use super::scale::{Scale, plain_rate, round_steps};
use super::threshold_line::VerticalAxis;
use super::time_axis::{self, TimeAxis};
pub use super::timeline_data::{Column, Layout, Timeline};
use super::{Anchor, Ink, Rect, Shape, Size};
use crate::statistics::RateSeries;

impl Timeline {
    fn time(&self, layout: &Layout) -> Scale {
        time_axis::scale(layout.rates, self.from, self.to)
    }

    /// The time axis on a canvas of `size`.
    #[must_use]
    pub fn axis(&self, size: Size) -> TimeAxis {
        TimeAxis::along(Layout::of(size, self.has_latency).rates, self.from, self.to)
    }

    /// From the logarithm of a duration to a position in the heatmap.
    pub(super) fn latency_scale(&self, layout: &Layout) -> Scale {
        let range = visible_range(&self.total);
        Scale { from: range.low, to: range.high, start: layout.heat.bottom(), end: layout.heat.y }
    }

    /// The latency axis of the heatmap on a canvas of `size`; `None` without a heatmap.
    #[must_use]
    pub fn latency_axis(&self, size: Size) -> Option<VerticalAxis> {
        let layout = Layout::of(size, self.has_latency);
        self.has_latency.then(|| VerticalAxis { plot: layout.heat, scale: self.latency_scale(&layout) })
    }

    /// The second at horizontal position `x` of a canvas of `size`; `None` outside the plot.
    #[must_use]
    pub fn second_at(&self, x: f64, size: Size) -> Option<u64> {
        self.axis(size).second_inside(x)
    }

    /// The rate of `second`, and whether that second is complete.
    #[must_use]
    pub fn rate_at(&self, second: u64) -> Option<(f64, bool)> {
        let of = |rates: &RateSeries| {
            second.checked_sub(rates.start_second).and_then(|at| rates.values.get(usize::try_from(at).ok()?).copied())
        };
        of(&self.rates).map(|rate| (rate, true)).or_else(|| of(&self.partial).map(|rate| (rate, false)))
    }

    /// The ingestion in `second`.
    #[must_use]
    pub fn ingestion_at(&self, second: u64) -> Option<f64> {
        let rates = self.ingestion.as_ref()?;
        rates.values.get(usize::try_from(second.checked_sub(rates.start_second)?).ok()?).copied()
    }

    /// Draws the chart.
    #[must_use]
    pub fn draw(&self, size: Size) -> Vec<Shape> {
        let layout = Layout::of(size, self.has_latency);
        let time = self.time(&layout);
        let mut list = Vec::new();
        if self.has_latency {
            heatmap::draw(&mut list, self, &layout, &time);
        }
        // On top of the cells: an incomplete period shows its counts and that it is incomplete.
        self.hatch_missing(&mut list, &layout, &time);
        self.draw_rates(&mut list, &layout, &time);
        time_axis::draw_ticks(&mut list, layout.rates, &time, (self.from, self.to), self.utc_offsets);
        self.crosshair(&mut list, &layout, &time);
        list
    }

    /// Hatches incomplete seconds, seconds before the first update, and missing ones.
    fn hatch_missing(&self, list: &mut Vec<Shape>, layout: &Layout, time: &Scale) {
        let mut hatch = |from: u64, to: u64| {
            let (x0, x1) = (time.at(from.saturating_sub(1) as f64), time.at(to as f64));
            for plot in [layout.heat, layout.rates] {
                if plot.height > 0.0 && x1 > x0 {
                    list.push(Shape::Hatched(Rect::between(x0, plot.y, x1, plot.bottom())));
                }
            }
        };
        match self.first {
            Some(first) if first > self.from => hatch(self.from, (first - 1).min(self.to)),
            Some(_) => {}
            None => hatch(self.from, self.to),
        }
        if self.first.is_some() && self.through < self.to {
            hatch((self.through + 1).max(self.from), self.to);
        }
        self.missing.iter().for_each(|&(from, to)| hatch(from.max(self.from), to.min(self.to)));
        if let Some(first) = self.first
            && time.at(first as f64) - layout.rates.x > 170.0
        {
            let middle = f64::midpoint(layout.rates.x, time.at(first as f64 - 1.0));
            let plot = if self.has_latency { layout.heat } else { layout.rates };
            let text = format!("nothing known before {}", self.utc_offsets.time(first - 1));
            list.push(Shape::text(Ink::Muted, [middle, plot.y + plot.height / 2.0], Anchor::Middle, text));
        }
    }

    fn draw_rates(&self, list: &mut Vec<Shape>, layout: &Layout, time: &Scale) {
        let plot = layout.rates;
        let all = self.rates.values.iter().chain(&self.partial.values);
        let most = all.chain(self.ingestion.iter().flat_map(|rates| &rates.values)).copied().fold(0.0, f64::max);
        let (top, step) = round_steps(most, (plot.height / 34.0).clamp(1.0, 4.0));
        let scale = Scale { from: 0.0, to: top, start: plot.bottom(), end: plot.y };
        for line in 0..=((top / step).round() as u32) {
            let value = f64::from(line) * step;
            let y = scale.at(value);
            let ink = if line == 0 { Ink::Axis } else { Ink::Grid };
            list.push(Shape::hairline(ink, [plot.x, y], [plot.right(), y]));
            let label = if line == 0 { "0".to_owned() } else { format!("{}/s", plain_rate(value)) };
            list.push(Shape::text(Ink::Muted, [plot.x - 8.0, y], Anchor::End, label));
        }
        let steps = |rates: &RateSeries| {
            let mut points = Vec::with_capacity(rates.values.len() * 2);
            for (second, &rate) in (rates.start_second..).zip(&rates.values) {
                let y = scale.at(rate);
                points.push([time.at(second.saturating_sub(1) as f64), y]);
                points.push([time.at(second as f64), y]);
            }
            points
        };
        let line = steps(&self.rates);
        if let (Some(first), Some(last)) = (line.first().copied(), line.last().copied()) {
            let mut area = line.clone();
            area.extend([[last[0], plot.bottom()], [first[0], plot.bottom()]]);
            list.push(Shape::Area { ink: Ink::OutArea, points: area });
        }
        if let Some(ingestion) = &self.ingestion {
            list.push(Shape::Line { ink: Ink::In, width: 1.5, dashed: true, points: steps(ingestion) });
        }
        list.push(Shape::Line { ink: Ink::Out, width: 1.5, dashed: false, points: line });
        list.push(Shape::Line { ink: Ink::Out, width: 1.0, dashed: true, points: steps(&self.partial) });
    }

    fn crosshair(&self, list: &mut Vec<Shape>, layout: &Layout, time: &Scale) {
        let Some(second) = self.hover.filter(|second| (self.from..=self.to).contains(second)) else { return };
        let top = if self.has_latency { layout.heat.y } else { layout.rates.y };
        time_axis::draw_crosshair(list, time, second, top, layout.rates.bottom());
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::time_format::UtcOffsets;
    use joey_shared::histogram::{Grid, Histogram};

    /// Ten seconds with a period of two, at one o'clock UTC.
    pub(crate) fn timeline() -> Timeline {
        let column = |second, bin, count| Column {
            second,
            width: 2,
            histogram: Histogram::from_counts(Grid::WALLAROO, bin, [count]),
        };
        let columns = vec![column(3_602, 10, 5), column(3_604, 12, 900), column(3_608, 10, 1)];
        let mut total = Histogram::default();
        for column in &columns {
            total.merge(&column.histogram);
        }
        Timeline {
            from: 3_601,
            to: 3_610,
            through: 3_608,
            first: Some(3_601),
            has_latency: true,
            columns,
            total,
            rates: RateSeries { start_second: 3_601, values: vec![2.5, 2.5, 450.0, 450.0, 0.0, 0.0, 0.5, 0.5] },
            partial: RateSeries { start_second: 3_609, values: vec![1.0, 0.0] },
            ingestion: None,
            missing: vec![],
            utc_offsets: UtcOffsets::default(),
            hover: None,
        }
    }

    pub(crate) const SIZE: Size = Size { width: 1_000.0, height: 400.0 };

    fn texts(list: &[Shape]) -> Vec<String> {
        let text =
            |draw: &Shape| if let Shape::Text { text, .. } = draw { Some(text.replace('\u{2009}', " ")) } else { None };
        list.iter().filter_map(text).collect()
    }

    #[test]
    fn positions_and_seconds_are_inverse() {
        let chart = timeline();
        let layout = Layout::of(SIZE, true);
        for second in chart.from..=chart.to {
            let x = chart.time(&layout).at(second as f64 - 0.5);
            assert_eq!(chart.second_at(x, SIZE), Some(second));
        }
        assert_eq!((chart.second_at(3.0, SIZE), chart.second_at(999.0, SIZE)), (None, None));
    }

    #[test]
    fn a_second_has_the_values_of_its_period() {
        let chart = timeline();
        assert_eq!(chart.column_at(3_603).map(|column| column.second), Some(3_604));
        assert!(chart.column_at(3_605).is_none());
        assert_eq!(
            (chart.rate_at(3_604), chart.rate_at(3_609), chart.rate_at(9)),
            (Some((450.0, true)), Some((1.0, false)), None)
        );
    }

    #[test]
    fn the_axes_are_labelled_and_the_partial_end_is_hatched() {
        let list = timeline().draw(SIZE);
        let texts = texts(&list);
        for label in ["600/s", "01:00:04", "0"] {
            assert!(texts.iter().any(|text| text == label), "{label} in {texts:?}");
        }
        let hatched = list.iter().filter(|draw| matches!(draw, Shape::Hatched(_))).count();
        assert_eq!(hatched, 2);
    }

    #[test]
    fn gaps_and_the_time_before_are_hatched_too() {
        let mut chart = timeline();
        chart.first = Some(3_605);
        chart.missing = vec![(3_606, 3_607)];
        let list = chart.draw(SIZE);
        assert_eq!(list.iter().filter(|draw| matches!(draw, Shape::Hatched(_))).count(), 6);
        assert!(texts(&list).iter().any(|text| text == "nothing known before 01:00:04"));
    }

    #[test]
    fn counts_have_no_heatmap_and_an_empty_timeline_can_be_drawn() {
        let mut chart = timeline();
        chart.has_latency = false;
        assert!(!chart.draw(SIZE).iter().any(|draw| matches!(draw, Shape::Rects { ink: Ink::Heat(_), .. })));
        let empty = Timeline {
            from: 0,
            to: 0,
            through: 0,
            first: None,
            columns: vec![],
            total: Histogram::default(),
            rates: RateSeries::default(),
            partial: RateSeries::default(),
            hover: Some(0),
            ..timeline()
        };
        for size in [SIZE, Size { width: 0.0, height: 0.0 }, Size { width: 300.0, height: 50.0 }] {
            drop(empty.draw(size));
        }
    }
}
