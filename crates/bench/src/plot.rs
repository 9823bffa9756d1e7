//! The history of the ratios to the floor, drawn: `benches/history.svg`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::history::{self, Run};

const FIGURE: &str = "relay / floor";
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 360.0;
/// Around what is drawn; on the right stand the names.
const LEFT: f64 = 50.0;
const RIGHT: f64 = 160.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
const COLOURS: &[&str] =
    &["#0b6e99", "#ad1a72", "#448361", "#d9730d", "#6940a5", "#64473a", "#cb912f", "#555555"];

pub fn draw(root: &Path) -> anyhow::Result<()> {
    let runs = history::read(root)?;
    Ok(std::fs::write(root.join("benches/history.svg"), svg(&runs))?)
}

/// The runs of the newest one's machine, from left to right; a line a workload.
fn svg(runs: &[Run]) -> String {
    let machine = runs.last().map_or("", |run| run.machine.as_str());
    let runs: Vec<&Run> = runs.iter().filter(|run| run.machine == machine).collect();
    let mut lines: BTreeMap<&str, Vec<(usize, f64)>> = BTreeMap::new();
    for (n, run) in runs.iter().enumerate() {
        for row in run.rows.iter().filter(|row| row.figure == FIGURE && row.value.is_finite()) {
            lines.entry(&row.case).or_default().push((n, row.value));
        }
    }
    let highest = lines.values().flatten().fold(1.5_f64, |highest, (_, value)| highest.max(*value));
    let x = |n: usize| LEFT + (WIDTH - LEFT - RIGHT) * n as f64 / (runs.len().max(2) - 1) as f64;
    let y = |value: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / highest;

    let mut out = String::new();
    let mut write =
        |line: std::fmt::Arguments<'_>| writeln!(out, "{line}").expect("a string takes everything");
    write(format_args!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" fill="#333">"##
    ));
    write(format_args!(r##"<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>"##));
    write(format_args!(
        r#"<text x="{LEFT}" y="20" font-size="14">Processor time a packet, in those of bare system calls</text>"#
    ));
    let mut step = 0.0;
    while step <= highest {
        let at = y(step);
        write(format_args!(r##"<path d="M{LEFT} {at:.1}H{}" stroke="#ddd"/>"##, WIDTH - RIGHT));
        write(format_args!(
            r#"<text x="{}" y="{:.1}" text-anchor="end">{step:.2}</text>"#,
            LEFT - 6.0,
            at + 4.0
        ));
        step += 0.25;
    }
    for (n, run) in runs.iter().enumerate() {
        let commit = run.commit.as_deref().unwrap_or("?").chars().take(7).collect::<String>();
        let (x, y) = (x(n), HEIGHT - BOTTOM + 16.0);
        write(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="middle" font-size="10">{commit}</text>"#
        ));
    }
    // Names that would lie on each other move apart.
    let mut ends: Vec<(f64, &str)> =
        lines.iter().map(|(name, line)| (y(line.last().map_or(0.0, |(_, value)| *value)), *name)).collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut above = f64::NEG_INFINITY;
    for (at, _) in &mut ends {
        *at = at.max(above + 14.0);
        above = *at;
    }
    for ((name, line), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let points: Vec<String> =
            line.iter().map(|(n, value)| format!("{:.1},{:.1}", x(*n), y(*value))).collect();
        write(format_args!(
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
            points.join(" ")
        ));
        for (n, value) in line {
            write(format_args!(r#"<circle cx="{:.1}" cy="{:.1}" r="3" fill="{colour}"/>"#, x(*n), y(*value)));
        }
        let at = ends.iter().find(|(_, of)| of == name).map_or(0.0, |(at, _)| *at);
        let (n, value) = line.last().copied().unwrap_or_default();
        let x = x(n).max(WIDTH - RIGHT) + 10.0;
        write(format_args!(
            r#"<text x="{x:.1}" y="{:.1}" fill="{colour}">{name} {value:.2}</text>"#,
            at + 4.0
        ));
    }
    write(format_args!(r#"<text x="{LEFT}" y="{}" font-size="11">{machine}</text>"#, HEIGHT - 12.0));
    write(format_args!("</svg>"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Row;

    #[test]
    fn each_workload_has_a_line_over_the_runs_of_one_machine() {
        let run = |machine: &str, raid: f64| Run {
            at: 0,
            commit: Some("abcdef0123".to_owned()),
            machine: machine.to_owned(),
            rows: vec![
                Row::new("raid", FIGURE, raid, ""),
                Row::new("idle", "relay", 0.5, "%"),
                Row::new("web", FIGURE, f64::NAN, ""),
            ],
        };
        let drawn = svg(&[run("a", 9.0), run("b", 1.2), run("b", 1.1)]);
        assert_eq!((drawn.matches("<polyline").count(), drawn.matches("<circle").count()), (1, 2), "{drawn}");
        assert!(drawn.contains("raid 1.10") && drawn.contains("abcdef0<"), "{drawn}");
        assert!(!svg(&[]).contains("polyline"));
    }
}
