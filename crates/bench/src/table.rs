//! Figures beside their bars.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a figure must not exceed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    pub id: String,
    pub at_most: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub case: String,
    pub figure: String,
    pub value: f64,
    pub unit: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bar: Option<Bar>,
}

impl Row {
    pub fn new(case: &str, figure: &str, value: f64, unit: &str) -> Self {
        Self { case: case.to_owned(), figure: figure.to_owned(), value, unit: unit.to_owned(), bar: None }
    }

    #[must_use]
    pub fn at_most(self, id: &str, at_most: f64) -> Self {
        Self { bar: Some(Bar { id: id.to_owned(), at_most }), ..self }
    }

    /// Nothing where there is no bar.
    pub fn holds(&self) -> Option<bool> {
        // What could not be measured does not hold.
        self.bar.as_ref().map(|bar| self.value <= bar.at_most)
    }

    fn cells(&self) -> [String; 5] {
        let bar = self.bar.as_ref().map_or_else(String::new, |bar| format!("{} <= {}", bar.id, bar.at_most));
        let holds = match self.holds() {
            None => "",
            Some(true) => "yes",
            Some(false) => "NO",
        };
        let value = if self.unit.is_empty() {
            number(self.value)
        } else {
            format!("{} {}", number(self.value), self.unit)
        };
        [self.case.clone(), self.figure.clone(), value, bar, holds.to_owned()]
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [_, figure, value, bar, holds] = self.cells();
        write!(f, "{figure}: {value}")?;
        if holds.is_empty() { Ok(()) } else { write!(f, " ({bar}: {holds})") }
    }
}

/// Three digits that count.
fn number(value: f64) -> String {
    let digits = if value == 0.0 { 0 } else { 2 - (value.abs().log10().floor() as i32).clamp(-2, 2) };
    format!("{value:.*}", digits.unsigned_abs() as usize)
}

pub struct Table<'a>(pub &'a [Row]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["workload", "figure", "measured", "bar", "holds"].map(str::to_owned);
        let rows: Vec<[String; 5]> = std::iter::once(head).chain(self.0.iter().map(Row::cells)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 5] = std::array::from_fn(width);
        writeln!(f)?;
        for (n, row) in rows.iter().enumerate() {
            row.iter().zip(widths).try_for_each(|(cell, width)| write!(f, "| {cell:<width$} "))?;
            writeln!(f, "|")?;
            if n == 0 {
                widths.iter().try_for_each(|width| write!(f, "|{:-<1$}", "", width + 2))?;
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_stands_beside_its_bar() {
        let rows = [
            Row::new("raid", "relay / floor", 1.134, "").at_most("P1", 1.15),
            Row::new("raid", "lost", 3.0, "packets").at_most("P1", 0.0),
            Row::new("raid", "a packet", 4_123.0, "ns"),
            Row::new("raid", "not measured", f64::NAN, "").at_most("P1", 1.15),
        ];
        assert_eq!(rows.each_ref().map(Row::holds), [Some(true), Some(false), None, Some(false)]);
        assert_eq!(rows[0].to_string(), "relay / floor: 1.13 (P1 <= 1.15: yes)");
        let table = Table(&rows).to_string();
        assert!(
            table.contains("| raid     | lost          | 3.00 packets | P1 <= 0    | NO    |"),
            "{table}"
        );
        assert!(table.contains("| 4123 ns "), "{table}");
    }

    #[test]
    fn three_digits_count() {
        let check = |value, expect| assert_eq!(number(value), expect);
        check(0.0, "0");
        check(0.012_34, "0.0123");
        check(1.0, "1.00");
        check(49_750.4, "49750");
        check(-12.34, "-12.3");
    }
}
