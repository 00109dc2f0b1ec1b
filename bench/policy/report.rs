//! The goals, whether they hold, and `target/bench/policy.json`.

use std::{fs, path::Path};

use serde_json::{Value, json};

/// What was measured against its goals.
#[derive(Debug, Default)]
pub struct Report {
    section: String,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    section: String,
    name: String,
    value: f64,
    goal: f64,
    at_most: bool,
}

impl Row {
    fn holds(&self) -> bool {
        if self.at_most { self.value <= self.goal } else { self.value >= self.goal }
    }
}

impl Report {
    /// Begins a part.
    pub fn section(&mut self, title: &str) {
        title.clone_into(&mut self.section);
        println!("\n{title}");
    }

    /// A figure that should be small.
    pub fn at_most(&mut self, name: &str, value: f64, goal: f64) {
        self.push(name, value, goal, true);
    }

    /// A figure that should be large.
    pub fn at_least(&mut self, name: &str, value: f64, goal: f64) {
        self.push(name, value, goal, false);
    }

    fn push(&mut self, name: &str, value: f64, goal: f64, at_most: bool) {
        let (section, name) = (self.section.clone(), name.to_owned());
        self.rows.push(Row { section, name, value, goal, at_most });
    }

    /// Prints the goals and writes the file.
    pub fn write(&self) {
        println!("\n{:<52} {:>9} {:>9}", "goal", "measured", "wanted");
        for row in &self.rows {
            let sign = if row.at_most { "<=" } else { ">=" };
            let verdict = if row.holds() { "" } else { "  MISSED" };
            println!("{:<52} {:>9.3} {sign} {:>6.2}{verdict}", row.name, row.value, row.goal);
        }
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "section": row.section, "name": row.name, "value": row.value,
                    "goal": row.goal, "atMost": row.at_most, "holds": row.holds(),
                })
            })
            .collect();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
        fs::create_dir_all(&folder).unwrap();
        let text = serde_json::to_string_pretty(&json!({ "goals": rows })).unwrap();
        fs::write(folder.join("policy.json"), text + "\n").unwrap();
    }
}
