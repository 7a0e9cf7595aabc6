//! A chart of one or several runs of a scenario over time, as SVG: hit ratio, origin queries per second and
//! p99.9, one below the other. Pure.

use std::fmt::Write;

use super::outcome::{Outcome, Series};

const WIDTH: f64 = 900.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 70.0;
const PANEL: f64 = 150.0;
const GAP: f64 = 45.0;

/// Of the first, the second and further runs: told apart by the colour-blind, too.
const COLOURS: [&str; 3] = ["#0072b2", "#d55e00", "#009e73"];

/// A panel: its title, and what it shows of a run.
type Panel = (&'static str, fn(&Series) -> &[f64], Floor);

/// Where the lowest line is.
#[derive(Clone, Copy)]
enum Floor {
    Zero,
    /// Below the least that is shown: near 100 % a drop would be a dent.
    Least,
}

const PANELS: [Panel; 3] = [
    ("hit ratio, %", |series| &series.hit_percent, Floor::Least),
    (
        "origin queries per second",
        |series| &series.origin_calls,
        Floor::Zero,
    ),
    (
        "p99.9 of a second, ms",
        |series| &series.p99_9_ms,
        Floor::Zero,
    ),
];

/// Draws these runs of one scenario; `None` if there is nothing to draw.
pub(crate) fn draw(runs: &[&Outcome]) -> Option<String> {
    let first = runs.first()?;
    let times = runs.iter().flat_map(|run| run.series.at.iter().copied());
    let (from, to) = bounds(times)?;
    let height = TOP + PANELS.len() as f64 * (PANEL + GAP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    text(
        &mut svg,
        (LEFT, 22.0),
        "start",
        &format!("{}: {}", first.scenario, first.what),
    );
    legend(&mut svg, runs);
    for (index, (title, of, floor)) in PANELS.iter().enumerate() {
        let top = TOP + index as f64 * (PANEL + GAP);
        let values = runs.iter().flat_map(|run| of(&run.series).iter().copied());
        let Some((least, most)) = bounds(values) else {
            continue;
        };
        let low = match floor {
            Floor::Zero => 0.0,
            Floor::Least => least,
        };
        let scale = Scale {
            from,
            to: to + 1.0,
            axis: Axis::around(low, most, 4.0),
            top,
        };
        scale.frame(&mut svg, title);
        scale.events(&mut svg, first, index == 0);
        for (run, colour) in runs.iter().zip(COLOURS) {
            scale.line(&mut svg, &run.series.at, of(&run.series), colour);
        }
    }
    svg += "</svg>\n";
    Some(svg)
}

fn legend(svg: &mut String, runs: &[&Outcome]) {
    for (index, (run, colour)) in runs.iter().zip(COLOURS).enumerate() {
        let x = LEFT + index as f64 * 200.0;
        let _written = writeln!(
            svg,
            "<path d=\"M{x} 40h24\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        );
        text(svg, (x + 30.0, 44.0), "start", &run.variant);
    }
}

/// The least and the greatest.
fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |known, value| {
        let (least, most) = known.unwrap_or((value, value));
        Some((f64::min(least, value), f64::max(most, value)))
    })
}

/// An axis whose lines are at round numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Axis {
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) step: f64,
}

/// What sums of fractions may be off by.
const NEAR: f64 = 1e-6;

impl Axis {
    /// One that has both, and about as many steps.
    pub(crate) fn around(low: f64, high: f64, steps: f64) -> Self {
        let span = if high > low { high - low } else { 1.0 };
        let rough = span / steps;
        let power = 10_f64.powf(rough.log10().floor());
        let factors = [1.0, 2.0, 5.0, 10.0];
        let fits = factors
            .iter()
            .find(|factor| **factor * power >= rough * (1.0 - NEAR));
        let step = fits.unwrap_or(&10.0) * power;
        Self {
            low: (low / step + NEAR).floor() * step,
            high: ((low + span) / step - NEAR).ceil() * step,
            step,
        }
    }

    fn lines(self) -> impl Iterator<Item = f64> {
        let count = ((self.high - self.low) / self.step).round() as u32;
        (0..=count).map(move |n| self.low + f64::from(n) * self.step)
    }
}

/// Where numbers are on the paper.
struct Scale {
    from: f64,
    to: f64,
    axis: Axis,
    top: f64,
}

impl Scale {
    fn x(&self, at: f64) -> f64 {
        LEFT + (at - self.from) / (self.to - self.from) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let share = (value - self.axis.low) / (self.axis.high - self.axis.low);
        self.top + PANEL * (1.0 - share)
    }

    fn frame(&self, svg: &mut String, title: &str) {
        text(svg, (LEFT, self.top - 6.0), "start", title);
        for value in self.axis.lines() {
            let y = self.y(value);
            rule(svg, (LEFT, y), (WIDTH - RIGHT, y), "#ddd");
            text(
                svg,
                (LEFT - 6.0, y + 4.0),
                "end",
                &round(value, self.axis.step),
            );
        }
        let times = Axis::around(self.from, self.to, 12.0);
        let bottom = self.top + PANEL;
        for at in times
            .lines()
            .filter(|at| (self.from..=self.to).contains(at))
        {
            let x = self.x(at);
            rule(svg, (x, bottom), (x, bottom + 4.0), "#888");
            text(
                svg,
                (x, bottom + 16.0),
                "middle",
                &format!("{} s", round(at, times.step)),
            );
        }
    }

    /// A dashed line for everything that was done; what it was is shown when one points at it, and written
    /// beside it if `is_named`.
    fn events(&self, svg: &mut String, run: &Outcome, is_named: bool) {
        for (index, event) in run.events.iter().enumerate() {
            let (x, bottom) = (self.x(event.at), self.top + PANEL);
            let _written = writeln!(
                svg,
                "<path d=\"M{x:.1} {:.1}V{bottom:.1}\" stroke=\"#888\" stroke-dasharray=\"4 3\">\
                 <title>{:.1} s: {}</title></path>",
                self.top,
                event.at,
                escape(&event.what)
            );
            // What was done is written; what came of it are the lines that follow, and there is no room for more.
            let is_result = ["converged", "ended"]
                .iter()
                .any(|end| event.what.ends_with(end));
            if is_named && !is_result {
                // Two that are close to each other are not written over each other.
                let y = bottom - 5.0 - 14.0 * (index % 4) as f64;
                text(svg, (x + 3.0, y), "start", &event.what);
            }
        }
    }

    fn line(&self, svg: &mut String, at: &[f64], values: &[f64], colour: &str) {
        let points = at.iter().zip(values);
        // In the middle of its second.
        let points =
            points.map(|(at, value)| format!("{:.1},{:.1}", self.x(at + 0.5), self.y(*value)));
        let points: Vec<_> = points.collect();
        let _written = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"/>",
            points.join(" ")
        );
    }
}

fn rule(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let _written = writeln!(
        svg,
        "<path d=\"M{:.1} {:.1}L{:.1} {:.1}\" stroke=\"{colour}\"/>",
        from.0, from.1, to.0, to.1
    );
}

pub(crate) fn text(svg: &mut String, at: (f64, f64), anchor: &str, words: &str) {
    let _written = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
        at.0,
        at.1,
        escape(words)
    );
}

/// A number with as many digits as the steps need.
fn round(value: f64, step: f64) -> String {
    let digits = usize::from(step < 1.0) + usize::from(step < 0.1);
    format!("{value:.digits$}")
}

fn escape(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;")
}
