//! What was measured, as medians, ratios and goals.

use std::{fmt::Write as _, fs, path::Path};

use serde::Serialize;

use crate::{Failure, load::Sample, say};

/// One turn of a gateway, with the turn without any gateway of the same round.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) sample: Sample,
    pub(crate) direct: Option<Sample>,
}

/// What one kind of work costs in one system. Times are in microseconds; absent where the work does
/// not show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Figures {
    cpu_us: Option<f64>,
    /// For a token: how much longer it was under way. Else: how much later the answer was there.
    added_p50_us: Option<f64>,
    added_p99_us: Option<f64>,
    /// The worst of all, beyond the worst without a gateway.
    added_worst_us: Option<f64>,
    per_second: Option<f64>,
    kb_per_stream: Option<f64>,
    errors: u64,
}

impl Figures {
    /// Of streams that are only held.
    pub(crate) fn of_memory(kb_per_stream: f64, errors: u64) -> Self {
        Self { kb_per_stream: Some(kb_per_stream), errors, ..Self::default() }
    }
}

#[derive(Debug, Serialize)]
struct Row {
    work: &'static str,
    system: String,
    unit: &'static str,
    #[serde(flatten)]
    figures: Figures,
}

/// Everything that was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Table {
    rows: Vec<Row>,
    /// Systems that were not measured, and why.
    pub(crate) absent: Vec<(String, String)>,
    /// Megabytes of Trunkline's program.
    pub(crate) binary_mb: f64,
    /// Megabytes that it holds while it serves nobody.
    pub(crate) rest_mb: f64,
}

impl Table {
    /// Adds the rounds of one system at one kind of work.
    pub(crate) fn add(
        &mut self,
        work: &'static str,
        system: &str,
        unit: &'static str,
        rounds: &[Measured],
    ) {
        let of_tokens = unit == "token";
        let over = |of: fn(&Sample) -> f64| {
            median(
                rounds
                    .iter()
                    .filter_map(|round| Some(of(&round.sample) - round.direct.as_ref().map(of)?)),
            )
        };
        let each = |of: &dyn Fn(&Sample) -> Option<f64>| {
            median(rounds.iter().filter_map(|round| of(&round.sample)))
        };
        let figures = Figures {
            cpu_us: each(&|sample| ratio(sample.cpu_us, units(sample, of_tokens))),
            added_p50_us: over(if of_tokens { |s| s.token_p50_us } else { |s| s.p50_us }),
            added_p99_us: over(if of_tokens { |s| s.token_p99_us } else { |s| s.p99_us }),
            added_worst_us: over(|sample| sample.worst_us),
            per_second: each(&|sample| ratio(units(sample, of_tokens), sample.seconds)),
            kb_per_stream: None,
            errors: rounds.iter().map(|round| round.sample.errors).sum(),
        };
        self.put(work, system, unit, figures);
    }

    /// Adds one row.
    pub(crate) fn put(
        &mut self,
        work: &'static str,
        system: &str,
        unit: &'static str,
        figures: Figures,
    ) {
        self.rows.push(Row { work, system: system.to_owned(), unit, figures });
    }

    /// Prints everything, and writes it where programs read it.
    pub(crate) fn print(&self, file: &Path) -> Result<(), Failure> {
        fs::write(file, serde_json::to_string_pretty(self)?)?;
        say(&self.text());
        Ok(())
    }

    fn figures(&self, work: &str, system: &str) -> Option<&Figures> {
        let row = self.rows.iter().find(|row| row.work == work && row.system == system)?;
        Some(&row.figures)
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut work = "";
        for row in &self.rows {
            if row.work != work {
                work = row.work;
                let heading = format!("{work} (per {})", row.unit);
                line(
                    &mut text,
                    &heading,
                    &[
                        "CPU µs",
                        "× floor",
                        "× nginx",
                        "+p50 µs",
                        "+p99 µs",
                        "+worst ms",
                        "per s",
                        "KB/stream",
                        "errors",
                    ],
                );
            }
            let own = &row.figures;
            let against = |system| {
                let other = self.figures(work, system)?;
                let by = |of: fn(&Figures) -> Option<f64>| ratio(of(own)?, of(other)?);
                by(|figures| figures.cpu_us).or_else(|| by(|figures| figures.kb_per_stream))
            };
            line(
                &mut text,
                &row.system,
                &[
                    &number(own.cpu_us, 1),
                    &number(against("floor"), 2),
                    &number(against("nginx"), 2),
                    &number(own.added_p50_us, 0),
                    &number(own.added_p99_us, 0),
                    &number(own.added_worst_us.map(|worst| worst / 1e3), 1),
                    &number(own.per_second, 0),
                    &number(own.kb_per_stream, 1),
                    &own.errors.to_string(),
                ],
            );
        }
        text.push('\n');
        for (system, why) in &self.absent {
            let _written = writeln!(text, "{system} is absent: {why}");
        }
        for Goal { what, found, most } in self.goals() {
            let verdict = match found {
                Some(found) if found <= most => "met",
                Some(_) => "MISSED",
                None => "not measured",
            };
            let _written =
                writeln!(text, "{verdict:<12} {what:<62} {} of {most}", number(found, 2));
        }
        text
    }

    /// What this run says about each goal.
    fn goals(&self) -> Vec<Goal> {
        let of = |work, system, figure: fn(&Figures) -> Option<f64>| {
            self.figures(work, system).and_then(figure)
        };
        let cpu = |figures: &Figures| figures.cpu_us;
        let against = |work, other, figure: fn(&Figures) -> Option<f64>| {
            ratio(of(work, "trunkline", figure)?, of(work, other, figure)?)
        };
        let worst = |work| Some(of(work, "trunkline", |figures| figures.added_worst_us)? / 1e3);
        let passed = of("token passed through", "trunkline", cpu);
        let translated = of("token translated", "trunkline", cpu);
        let goal = |what, found, most| Goal { what, found, most };
        vec![
            goal("chat 1 KB, CPU against the floor", against("chat 1 KB", "floor", cpu), 1.35),
            goal("chat 1 KB, CPU against nginx", against("chat 1 KB", "nginx", cpu), 1.3),
            goal(
                "chat 1 KB, added p50 against nginx",
                against("chat 1 KB", "nginx", |figures| figures.added_p50_us),
                1.25,
            ),
            goal(
                "chat 128 KB, CPU against the floor",
                against("chat 128 KB, model last", "floor", cpu),
                1.4,
            ),
            goal(
                "token passed through, CPU against the floor",
                against("token passed through", "floor", cpu),
                1.15,
            ),
            goal(
                "token translated, CPU against one passed through",
                translated.zip(passed).and_then(|(one, other)| ratio(one, other)),
                1.35,
            ),
            goal("worst of 10,000 requests, ms over direct", worst("10,000 requests"), 10.0),
            goal(
                "worst of 10,000 first tokens, ms over direct",
                worst("10,000 first tokens"),
                10.0,
            ),
            goal(
                "idle stream, KB",
                of("idle stream", "trunkline", |figures| figures.kb_per_stream),
                26.0,
            ),
            goal("program without debug information, MB", Some(self.binary_mb), 25.0),
            goal("memory at rest, MB", Some(self.rest_mb), 12.0),
        ]
    }
}

/// A bound, and what was found.
struct Goal {
    what: &'static str,
    found: Option<f64>,
    most: f64,
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 52 bits")]
fn units(sample: &Sample, of_tokens: bool) -> f64 {
    (if of_tokens { sample.tokens } else { sample.done }) as f64
}

fn ratio(one: f64, other: f64) -> Option<f64> {
    (one > 0.0 && other > 0.0).then(|| one / other)
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

fn line(text: &mut String, first: &str, rest: &[&str]) {
    // Writing to a string cannot fail.
    let _written = write!(text, "{first:<40}");
    for cell in rest {
        let _written = write!(text, "{cell:>10}");
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(cpu_us: f64, p50_us: f64) -> Measured {
        let sample =
            |cpu_us, p50_us| Sample { done: 10, seconds: 1.0, cpu_us, p50_us, ..Sample::default() };
        Measured { sample: sample(cpu_us, p50_us), direct: Some(sample(0.0, 10.0)) }
    }

    #[test]
    fn a_row_is_the_median_of_its_rounds_and_a_goal_a_ratio_of_rows() {
        let mut table = Table::default();
        table.add("chat 1 KB", "floor", "request", &[turn(200.0, 30.0)]);
        let rounds = [turn(900.0, 90.0), turn(260.0, 36.0), turn(250.0, 35.0)];
        table.add("chat 1 KB", "trunkline", "request", &rounds);
        let own = table.figures("chat 1 KB", "trunkline").unwrap();
        assert_eq!((own.cpu_us, own.added_p50_us), (Some(26.0), Some(26.0)));
        let goals = table.goals();
        assert_eq!(goals[0].found, Some(1.3));
        assert_eq!(goals[1].found, None, "nginx was not measured");
        assert!(table.text().contains("met          chat 1 KB, CPU against the floor"));
    }
}
