//! A fleet a hundred times smaller than the published one, and the document of what fleets carry.
#![allow(clippy::unwrap_used)]

use sim::capacity::{Inputs, tables};
use sim::fleet_model::{Moved, Settings, run};

fn small() -> Settings {
    Settings {
        // In others a community of hundreds begins its call just on a server that has little room left.
        seed: 5,
        users: 26_000,
        servers: 85,
        nodes: 8,
        capacity: 1_000,
        settle_s: 120,
        steady_s: 60,
        ..Settings::default()
    }
}

#[test]
fn no_server_is_run_over_when_another_or_a_region_is_lost_or_comes_back() {
    let report = run(small());
    assert_eq!(run(small()), report, "the same seed is the same fleet");
    assert!(report.users > 24_000, "{report}");

    let Moved { people, awaiting, placed_after_s, takers, watched, over_capacity, .. } = report.server_lost;
    // Its lease ends after ten seconds at the most.
    assert!(people > 100 && awaiting == 0 && placed_after_s <= 10.1, "{report}");
    assert!(takers >= 20 && over_capacity == 0, "{report}");
    assert!(watched.guilds_between_reports <= 11, "{report}");

    // Guilds that name the region wait for it; others are elsewhere.
    let lost = &report.region_lost;
    assert!(lost.people > lost.awaiting && lost.awaiting > 0 && lost.over_capacity == 0, "{report}");
    let back = &report.region_back;
    assert_eq!(back.awaiting, 0, "{report}");
    assert!(back.placed_after_s < 20.0 && back.watched.fullest < 1.2, "{report}");
}

/// `cargo x sim fleet --tables` prints them.
#[test]
fn the_document_shows_what_follows_from_the_inputs() {
    let document = include_str!("../../../docs/capacity.md");
    let tables = tables(&Inputs::default());
    for table in tables.split("\n\n") {
        assert!(document.contains(table.trim()), "docs/capacity.md is to show\n{table}");
    }
}
