//! Line charts as SVG.
//!
//! Owns axes, lines and tooltips. Knows points, not what they mean.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::html::{escaped, number, quantity};

/// A chart is drawn this large and scaled by the page; text stays readable from 320 to 500 pixels.
const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 22.0;

/// More steps than this are drawn as means of so many neighbours that they fit.
const MOST_POINTS: usize = 240;

/// One line.
#[derive(Debug, Clone, Default)]
pub(super) struct Series {
    /// Shown in the legend.
    pub(super) name: String,
    /// `(step, value)`, in the order of the steps.
    pub(super) points: Vec<(f64, f64)>,
    /// Lowest and highest value at each of the points, shown as a band; or none.
    pub(super) band: Vec<(f64, f64)>,
    /// Drawn as dots on a line: few points that stand for themselves.
    pub(super) dots: bool,
}

impl Series {
    pub(super) fn line(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self {
            name: name.to_owned(),
            points,
            ..Self::default()
        }
    }

    pub(super) fn dots(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self {
            dots: true,
            ..Self::line(name, points)
        }
    }

    pub(super) fn with_band(mut self, low: &[(f64, f64)], high: &[(f64, f64)]) -> Self {
        if low.len() == self.points.len() && high.len() == self.points.len() {
            self.band = low.iter().zip(high).map(|(l, h)| (l.1, h.1)).collect();
        }
        self
    }

    /// Means of neighbours, their lowest and highest value as the band.
    fn thinned(&self) -> Self {
        let size = self.points.len().div_ceil(MOST_POINTS);
        if size < 2 {
            return self.clone();
        }
        let mut thin = Self {
            name: self.name.clone(),
            dots: self.dots,
            ..Self::default()
        };
        for (place, part) in self.points.chunks(size).enumerate() {
            let mean = |value: fn(&(f64, f64)) -> f64| {
                part.iter().map(value).sum::<f64>() / part.len() as f64
            };
            thin.points.push((mean(|p| p.0), mean(|p| p.1)));
            let band = self.band.chunks(size).nth(place);
            let low = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::INFINITY, f64::min);
            let high =
                |values: &mut dyn Iterator<Item = f64>| values.fold(f64::NEG_INFINITY, f64::max);
            thin.band.push(match band {
                Some(band) => (
                    low(&mut band.iter().map(|b| b.0)),
                    high(&mut band.iter().map(|b| b.1)),
                ),
                None => (
                    low(&mut part.iter().map(|p| p.1)),
                    high(&mut part.iter().map(|p| p.1)),
                ),
            });
        }
        thin
    }
}

/// A chart of some lines over one axis.
#[derive(Debug, Clone, Default)]
pub(super) struct Chart {
    pub(super) title: Cow<'static, str>,
    /// Of the values.
    pub(super) unit: &'static str,
    /// What is seen, below the chart.
    pub(super) note: String,
    pub(super) series: Vec<Series>,
    /// Whether the axis of the values begins at 0.
    pub(super) from_zero: bool,
    /// Whether the axis of the values is logarithmic where all values are above 0.
    pub(super) logarithmic: bool,
    /// The names of the places 0, 1, … below the axis, where it has no steps.
    pub(super) places: Vec<String>,
    /// Steps at which something happened that the note tells of.
    pub(super) marks: Vec<f64>,
}

/// An axis from `low` to `high`.
#[derive(Debug, Clone, Copy)]
struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Axis {
    /// From 0 to 1 along the axis.
    fn place(self, value: f64) -> f64 {
        let map = |v: f64| if self.logarithmic { v.log10() } else { v };
        let (low, high) = (map(self.low), map(self.high));
        ((map(value) - low) / (high - low)).clamp(0.0, 1.0)
    }

    fn ticks(self, most: usize) -> Vec<f64> {
        if self.logarithmic {
            let (low, high) = (
                self.low.log10().round() as i32,
                self.high.log10().round() as i32,
            );
            let every = ((high - low) as usize).div_ceil(most).max(1);
            return (low..=high)
                .step_by(every)
                .map(|exponent| 10_f64.powi(exponent))
                .collect();
        }
        let step = nice((self.high - self.low) / most as f64);
        let first = (self.low / step).ceil();
        (0..=most + 1)
            // Adding 0 turns a negative zero round.
            .map(|i| (first + i as f64) * step + 0.0)
            .filter(|&v| v <= self.high + 1e-9 * step)
            .collect()
    }
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn nice(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|f| f * power)
        .find(|&v| v >= least * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

impl Chart {
    /// Whether there is anything to draw.
    pub(super) fn is_empty(&self) -> bool {
        self.series.iter().all(|s| s.points.is_empty())
    }

    /// The chart with title and legend.
    pub(super) fn html(&self) -> String {
        let series: Vec<Series> = self
            .series
            .iter()
            .filter(|s| !s.points.is_empty())
            .map(Series::thinned)
            .collect();
        let mut out = String::from("<figure class=\"chart\"><figcaption><h3>");
        out.push_str(&escaped(&self.title));
        if !self.unit.is_empty() && self.unit != "share" {
            let _ = write!(out, " <small>{}</small>", self.unit);
        }
        out.push_str("</h3>");
        out.push_str("<ul class=\"legend\">");
        for (index, line) in series.iter().enumerate() {
            let last = line.points.last().map_or(0.0, |p| p.1);
            let _ = write!(
                out,
                "<li><i class=\"c{}{}\"></i>{} <b>{}</b></li>",
                index % COLOURS,
                if line.dots { " dot" } else { "" },
                escaped(&line.name),
                self.shown(last)
            );
        }
        out.push_str("</ul></figcaption>");
        self.svg(&series, &mut out);
        if !self.note.is_empty() {
            let _ = write!(out, "<p class=\"note\">{}</p>", escaped(&self.note));
        }
        out.push_str("</figure>");
        out
    }

    fn shown(&self, value: f64) -> String {
        quantity(value, if self.unit == "share" { "share" } else { "" })
    }

    fn svg(&self, series: &[Series], out: &mut String) {
        let Some((x, y)) = self.axes(series) else {
            return;
        };
        let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
        let at_x = |value: f64| LEFT + width * x.place(value);
        let at_y = |value: f64| TOP + height * (1.0 - y.place(value));
        let _ = write!(
            out,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escaped(&self.title)
        );
        for tick in y.ticks(5) {
            let place = at_y(tick);
            let _ = write!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {place:.1}H{:.0}\"/><text class=\"y\" x=\"{:.0}\" y=\"{:.1}\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                place + 3.5,
                self.shown(tick)
            );
        }
        self.x_labels(x, &at_x, out);
        for &mark in &self.marks {
            let _ = write!(
                out,
                "<path class=\"mark\" d=\"M{:.1} {TOP}V{:.0}\"/>",
                at_x(mark),
                HEIGHT - BOTTOM
            );
        }
        for (index, line) in series.iter().enumerate() {
            let class = index % COLOURS;
            if !line.band.is_empty() && line.points.len() > 1 {
                let upper = line.points.iter().zip(&line.band);
                let upper = upper.map(|(p, b)| format!("{:.1} {:.1}", at_x(p.0), at_y(b.1)));
                let lower = line.points.iter().zip(&line.band).rev();
                let lower = lower.map(|(p, b)| format!("{:.1} {:.1}", at_x(p.0), at_y(b.0)));
                let outline: Vec<String> = upper.chain(lower).collect();
                let _ = write!(
                    out,
                    "<path class=\"band c{class}\" d=\"M{}Z\"/>",
                    outline.join("L")
                );
            }
            let places: Vec<String> = line
                .points
                .iter()
                .map(|p| format!("{:.1} {:.1}", at_x(p.0), at_y(p.1)))
                .collect();
            let _ = write!(
                out,
                "<path class=\"line c{class}\" d=\"M{}\"/>",
                places.join("L")
            );
            if line.dots || line.points.len() == 1 {
                for p in &line.points {
                    let _ = write!(
                        out,
                        "<circle class=\"c{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>",
                        at_x(p.0),
                        at_y(p.1)
                    );
                }
            }
        }
        self.tooltips(series, &at_x, out);
        out.push_str("</svg>");
    }

    fn x_labels(&self, x: Axis, at_x: &dyn Fn(f64) -> f64, out: &mut String) {
        let axis = if self.places.is_empty() {
            "step"
        } else {
            "from"
        };
        let _ = write!(
            out,
            "<text class=\"y\" x=\"{:.0}\" y=\"{:.0}\">{axis}</text>",
            LEFT - 14.0,
            HEIGHT - 6.0
        );
        let mut label = |value: f64, text: &str| {
            let place = at_x(value);
            // Labels at the ends stay within the picture.
            let anchor = if place > WIDTH - RIGHT - 12.0 {
                " end"
            } else {
                ""
            };
            let _ = write!(
                out,
                "<text class=\"x{anchor}\" x=\"{place:.1}\" y=\"{:.0}\">{}</text>",
                HEIGHT - 6.0,
                escaped(text)
            );
        };
        if self.places.is_empty() {
            let ticks = x.ticks(6);
            for tick in ticks.into_iter().filter(|t| t.fract() == 0.0) {
                label(tick, &number(tick));
            }
        } else {
            let every = self.places.len().div_ceil(8);
            for (place, name) in self.places.iter().enumerate().step_by(every) {
                label(place as f64, name);
            }
        }
    }

    /// A strip over each step that shows its figures.
    fn tooltips(&self, series: &[Series], at_x: &dyn Fn(f64) -> f64, out: &mut String) {
        let mut steps: Vec<f64> = series
            .iter()
            .flat_map(|s| s.points.iter().map(|p| p.0))
            .collect();
        steps.sort_by(f64::total_cmp);
        steps.dedup();
        // Lines of different steps would make more strips than can be pointed at.
        let every = steps.len().div_ceil(2 * MOST_POINTS);
        let steps: Vec<f64> = steps.into_iter().step_by(every.max(1)).collect();
        for (place, &step) in steps.iter().enumerate() {
            let here = at_x(step);
            let left = match place {
                0 => LEFT,
                _ => f64::midpoint(at_x(steps[place - 1]), here),
            };
            let right = steps
                .get(place + 1)
                .map_or(WIDTH - RIGHT, |&next| f64::midpoint(here, at_x(next)));
            let name = match self.places.get(step as usize) {
                Some(name) => name.clone(),
                None => format!("step {}", number(step.round())),
            };
            let mut text = name;
            for line in series {
                let Some(at) = line.points.iter().position(|p| p.0 == step) else {
                    continue;
                };
                let _ = write!(text, "\n{} {}", line.name, self.shown(line.points[at].1));
                if let Some((low, high)) = line.band.get(at) {
                    let _ = write!(text, " ({} to {})", self.shown(*low), self.shown(*high));
                }
            }
            let _ = write!(
                out,
                "<g class=\"hit\"><rect x=\"{left:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.0}\"/>\
                 <path d=\"M{here:.1} {TOP}V{:.0}\"/><title>{}</title></g>",
                (right - left).max(0.1),
                HEIGHT - TOP - BOTTOM,
                HEIGHT - BOTTOM,
                escaped(&text)
            );
        }
    }

    fn axes(&self, series: &[Series]) -> Option<(Axis, Axis)> {
        let xs = series.iter().flat_map(|s| s.points.iter().map(|p| p.0));
        let (low, high) = range(xs)?;
        let x = Axis {
            low,
            high: if high > low { high } else { low + 1.0 },
            logarithmic: false,
        };
        let ys = series.iter().flat_map(|s| {
            let bands = s.band.iter().flat_map(|b| [b.0, b.1]);
            s.points.iter().map(|p| p.1).chain(bands)
        });
        let (mut low, mut high) = range(ys)?;
        if self.logarithmic && low > 0.0 {
            let y = Axis {
                low: 10_f64.powf(low.log10().floor()),
                high: 10_f64.powf(high.log10().floor() + 1.0),
                logarithmic: true,
            };
            return Some((x, y));
        }
        if self.from_zero {
            (low, high) = (low.min(0.0), high.max(0.0));
        }
        let room = 0.06 * (high - low);
        let room = if room > 0.0 {
            room
        } else {
            (0.1 * high.abs()).max(1e-9)
        };
        // A line at 0 is not pushed off the axis.
        let below = if self.from_zero && low == 0.0 {
            0.0
        } else {
            room
        };
        let y = Axis {
            low: low - below,
            high: high + room,
            logarithmic: false,
        };
        Some((x, y))
    }
}

/// The colours that the page has.
const COLOURS: usize = 6;

fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let values = values.filter(|v| v.is_finite());
    values.fold(None, |range, v| match range {
        None => Some((v, v)),
        Some((low, high)) => Some((f64::min(low, v), f64::max(high, v))),
    })
}

/// A line without axes, as high as a line of text.
pub(super) fn sparkline(points: &[(f64, f64)]) -> String {
    const WIDTH: f64 = 90.0;
    const HEIGHT: f64 = 18.0;
    let size = points.len().div_ceil(60).max(1);
    let values: Vec<f64> = points
        .chunks(size)
        .map(|part| part.iter().map(|p| p.1).sum::<f64>() / part.len() as f64)
        .collect();
    let Some((low, high)) = range(values.iter().copied()) else {
        return String::new();
    };
    if values.len() < 2 {
        return String::new();
    }
    let step = WIDTH / (values.len() - 1) as f64;
    let spread = if high > low { high - low } else { 1.0 };
    let places: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(i, v)| {
            let y = HEIGHT - 2.0 - (HEIGHT - 4.0) * (v - low) / spread;
            format!("{:.1} {y:.1}", i as f64 * step)
        })
        .collect();
    format!(
        "<svg class=\"spark\" viewBox=\"0 0 {WIDTH} {HEIGHT}\"><path class=\"line c0\" d=\"M{}\"/></svg>",
        places.join("L")
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ticks_are_round_numbers_within_the_axis() {
        let axis = |low, high, logarithmic| Axis {
            low,
            high,
            logarithmic,
        };
        assert_eq!(
            axis(-9.7, 0.2, false).ticks(5),
            [-8.0, -6.0, -4.0, -2.0, 0.0]
        );
        assert_eq!(
            axis(0.0, 1.0, false).ticks(5),
            [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]
        );
        assert_eq!(axis(1e-8, 1e-5, true).ticks(5), [1e-8, 1e-7, 1e-6, 1e-5]);
        assert!(axis(1e-9, 1.0, true).ticks(5).len() <= 6);
    }

    #[test]
    fn a_constant_and_a_single_step_are_drawn() {
        for points in [vec![(1.0, 0.0)], vec![(1.0, 2.0), (2.0, 2.0)]] {
            let chart = Chart {
                title: "t".into(),
                series: vec![Series::line("a", points)],
                ..Chart::default()
            };
            let html = chart.html();
            assert!(
                html.contains("<path class=\"line c0\"") && !html.contains("NaN"),
                "{html}"
            );
        }
    }

    #[test]
    fn long_lines_are_means_of_neighbours() {
        let points: Vec<(f64, f64)> = (0..10_000)
            .map(|i| (f64::from(i), f64::from(i % 2)))
            .collect();
        let thin = Series::line("a", points).thinned();
        assert!(thin.points.len() <= MOST_POINTS);
        assert!(thin.points.iter().all(|p| (p.1 - 0.5).abs() < 0.02));
        assert!(thin.band.iter().all(|&b| b == (0.0, 1.0)));
    }

    proptest! {
        #[test]
        fn whatever_the_values_every_coordinate_is_a_number(
            values in proptest::collection::vec(-1e12_f64..1e12, 1..40), logarithmic: bool, from_zero: bool,
        ) {
            let points = values.iter().enumerate().map(|(i, &v)| (i as f64, v)).collect();
            let chart = Chart {
                title: "t".into(),
                series: vec![Series::line("a", points)],
                logarithmic,
                from_zero,
                ..Chart::default()
            };
            let html = chart.html();
            prop_assert!(!html.contains("NaN") && !html.contains("inf"));
        }
    }
}
