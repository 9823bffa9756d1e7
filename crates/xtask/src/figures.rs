//! What tests say that they have measured, as one table.

use std::fmt;

/// What a figure begins with, and what comes between it and its bound.
const MEASURED: &str = "measured: ";
const BOUND: &str = "; bound: ";

#[derive(Default)]
pub struct Table {
    /// The test that is under way.
    case: String,
    rows: Vec<[String; 3]>,
}

impl Table {
    /// Takes in a line of the output of tests that run one at a time, and returns what of it is to be seen meanwhile.
    pub fn read(&mut self, line: &str) -> Option<String> {
        let begins = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "));
        if let Some((name, _)) = begins {
            self.case = name.replace('_', " ");
        }
        let measured = line.split_once(MEASURED).map(|(_, figure)| {
            let (figure, bound) = figure.split_once(BOUND).unwrap_or((figure, "-"));
            self.rows.push([&self.case, figure, bound].map(str::to_owned));
            format!("    {figure} (at most {bound})")
        });
        match (begins, measured) {
            (Some(_), Some(measured)) => Some(format!("{}\n{measured}", self.case)),
            (Some(_), None) => Some(self.case.clone()),
            (None, measured) => measured,
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n| case | measured | bound |\n|---|---|---|")?;
        self.rows.iter().try_for_each(|[case, figure, bound]| writeln!(f, "| {case} | {figure} | {bound} |"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_told_apart_from_other_lines_and_belong_to_the_test_under_way() {
        let mut table = Table::default();
        let check = |table: &mut Table, line: &str, expect: Option<&str>| {
            assert_eq!(table.read(line).as_deref(), expect, "{line}");
        };
        check(&mut table, "running 2 tests", None);
        check(
            &mut table,
            "test one_dies ... measured: 3 ms; bound: 5 ms",
            Some("one dies\n    3 ms (at most 5 ms)"),
        );
        check(&mut table, "measured: 4 ms", Some("    4 ms (at most -)"));
        check(&mut table, "ok", None);
        check(&mut table, "test all_die ... ok", Some("all die"));
        let rows = "| one dies | 3 ms | 5 ms |\n| one dies | 4 ms | - |\n";
        assert!(table.to_string().ends_with(rows), "{table}");
    }
}
