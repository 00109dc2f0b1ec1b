//! Reports as `trunkline check` prints them: for people, and for programs.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{
    Source,
    report::{Condition, ConditionType, Problem, Reason, Report},
    value::list,
};

/// 0 when everything is accepted and found, 1 when something is not.
pub fn exit_code(reports: &[Report]) -> u8 {
    u8::from(reports.iter().any(|report| !report.problems.is_empty()))
}

/// Each problem with file, line and object, and a line that counts them. A price that nobody knows is
/// told and is no problem: what one runs oneself has none.
///
/// ```text
/// deploy/support.yaml:14  ModelRoute team-a/support
///   Accepted=False (UnknownField)  spec.targets[1].wieght: unknown field; did you mean `weight`?
/// 1 problem in 1 of 6 objects; the other 5 would be served.
/// ```
pub fn text(reports: &[Report]) -> String {
    let mut out = String::new();
    for report in reports {
        let mut heading = String::new();
        for Problem { reason, field, message } in &report.problems {
            let (file, line) = (&report.source.file, report.source.line_of(field));
            let here = format!("{file}:{line}  {}", report.title());
            if here != heading {
                put(&mut out, &here);
                heading = here;
            }
            let (kind, reason) = (reason.condition().as_str(), reason.as_str());
            put(&mut out, &format!("  {kind}=False ({reason})  {message}"));
        }
        if report.last_good_serves() {
            put(&mut out, "  Its last good version serves.");
        }
        if heading.is_empty() && !report.unpriced.is_empty() {
            let Source { file, line, .. } = &report.source;
            put(&mut out, &format!("{file}:{line}  {}", report.title()));
        }
        for message in &report.unpriced {
            let (kind, reason) = (ConditionType::Priced.as_str(), Reason::PriceUnknown.as_str());
            put(&mut out, &format!("  {kind}=False ({reason})  {message}"));
        }
    }
    put(&mut out, &summary(reports));
    out
}

fn put(out: &mut String, line: &str) {
    // Writing into a string cannot fail.
    let _written = writeln!(out, "{}", printable(line));
}

/// What a manifest says may hold line breaks and escape sequences; a terminal must not see them.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn summary(reports: &[Report]) -> String {
    let (others, ours): (Vec<_>, Vec<_>) = reports.iter().partition(|report| report.left_alone);
    let all = ours.len();
    let bad = ours.iter().filter(|report| !report.problems.is_empty()).count();
    let problems: usize = ours.iter().map(|report| report.problems.len()).sum();
    let s = |count: usize| if count == 1 { "" } else { "s" };
    let mut line = if bad == 0 {
        format!("{all} object{}, no problem.", s(all))
    } else {
        let rest = match all - bad {
            0 => String::new(),
            1 => "; the other one would be served".to_owned(),
            good => format!("; the other {good} would be served"),
        };
        let serves = |report: &&&Report| report.ready.is_some_and(|ready| ready.status);
        let partly =
            ours.iter().filter(|report| !report.problems.is_empty()).filter(serves).count();
        let rest = match partly {
            0 => rest,
            _ => format!("{rest}; {partly} of the {bad} would serve with what is left"),
        };
        format!("{problems} problem{} in {bad} of {all} object{}{rest}.", s(problems), s(all))
    };
    if !others.is_empty() {
        let mut kinds: Vec<_> = others.iter().map(|report| report.kind.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let (count, s) = (others.len(), s(others.len()));
        let _written = write!(
            line,
            " Left alone: {count} object{s} of other kinds ({}).",
            list(kinds.into_iter())
        );
    }
    line
}

/// The same as JSON: a list with one entry an object.
pub fn json(reports: &[Report]) -> String {
    // A value of strings, numbers and lists is always JSON; the alternate form is the indented one.
    format!("{:#}", value(reports))
}

/// The same as YAML.
///
/// # Errors
/// When the YAML writer fails, which it does not for strings, numbers and lists.
pub fn yaml(reports: &[Report]) -> Result<String, serde_yaml::Error> {
    serde_yaml::to_string(&value(reports))
}

fn value(reports: &[Report]) -> Value {
    reports.iter().filter(|report| !report.left_alone).map(object).collect()
}

/// One object: where it is, what its status would say, and each problem with its own line.
fn object(report: &Report) -> Value {
    let condition = |Condition { kind, status, reason, message }: Condition| {
        let status = if status { "True" } else { "False" };
        json!({
            "type": kind.as_str(),
            "status": status,
            "reason": reason.as_str(),
            "message": message,
        })
    };
    let problem = |Problem { reason, field, message }: &Problem| {
        json!({
            "line": report.source.line_of(field),
            "field": field,
            "type": reason.condition().as_str(),
            "reason": reason.as_str(),
            "message": message,
        })
    };
    json!({
        "file": &*report.source.file,
        "line": report.source.line,
        "kind": report.kind,
        "namespace": report.id.as_ref().map(|id| &*id.namespace),
        "name": report.id.as_ref().map(|id| &*id.name),
        "conditions": report.conditions().into_iter().map(condition).collect::<Vec<_>>(),
        "problems": report.problems.iter().map(problem).collect::<Vec<_>>(),
    })
}
