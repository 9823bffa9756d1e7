//! What happens to the fleet: it is filled, has a busy hour, loses a server, loses a region, and gets that back.

use std::fmt;

use super::regions::Regions;
use super::{Balance, Event, Fleet, Settings, TICKS_PER_S, Watched};

/// Between two looks at how evenly servers are used.
const LOOK_EVERY_S: u64 = 10;
/// How long it is looked at what a loss did. Because a lease ends after ten seconds, and what was placed by old reports is known five seconds later.
const LOSS_S: u64 = 40;
const BETWEEN_S: u64 = 300;
/// How long the region is away, and within how long its servers are back.
const AWAY_S: u64 = 120;
const BACK_WITHIN_S: u64 = 10;
const BACK_S: u64 = 120;

#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub regions: Vec<String>,
    pub servers: Vec<usize>,
    pub calls: usize,
    pub users: u32,
    /// After everybody joined at once.
    pub filled: Vec<Balance>,
    /// In the busy hour.
    pub steady: Vec<Balance>,
    pub in_steady: Watched,
    pub server_lost: Moved,
    pub region_lost: Moved,
    pub region_back: Moved,
}

/// What a loss, or a return, did.
#[derive(Debug, Clone, PartialEq)]
pub struct Moved {
    pub guilds: usize,
    pub people: u32,
    /// Of those, people that still had no server when it was looked last.
    pub awaiting: u32,
    /// Until every guild that got a server had it.
    pub placed_after_s: f64,
    /// Servers that took some of them, and how many people one of them took at the most.
    pub takers: usize,
    pub most_taken: u32,
    pub watched: Watched,
    /// How many servers had more people than their capacity at the end.
    pub over_capacity: usize,
}

pub fn run(settings: Settings) -> Report {
    let (settle_s, steady_s) = (settings.settle_s, settings.steady_s);
    let mut fleet = Fleet::new(settings);
    let calls = fleet.fill();
    let filled = fleet.balances();
    fleet.run_for(settle_s);
    fleet.watched = Watched::default();
    let mut looks = Vec::new();
    for _ in 0..steady_s / LOOK_EVERY_S {
        fleet.run_for(LOOK_EVERY_S);
        looks.push(fleet.balances());
    }
    let steady = (0..filled.len())
        .map(|region| Balance::mean(&looks.iter().map(|look| look[region]).collect::<Vec<_>>()));
    let (users, in_steady, steady) = (fleet.users(), fleet.watched, steady.collect());
    let largest = Regions::largest();
    let fullest = fleet.of_region(largest).max_by_key(|server| fleet.participants(*server));
    let server_lost = fleet.lose(&[fullest.expect("every region has servers")]);
    fleet.run_for(BETWEEN_S);
    let all: Vec<usize> = fleet.of_region(largest).filter(|server| fleet.servers[*server].is_up).collect();
    let region_lost = fleet.lose(&all);
    fleet.run_for(AWAY_S);
    let region_back = fleet.give_back(&all);
    Report {
        regions: fleet.region_ids.iter().map(|id| id.0.clone()).collect(),
        servers: (0..filled.len()).map(|region| fleet.of_region(region).count()).collect(),
        calls,
        users,
        filled,
        steady,
        in_steady,
        server_lost,
        region_lost,
        region_back,
    }
}

impl Fleet {
    fn of_region(&self, region: usize) -> impl Iterator<Item = usize> {
        (0..self.servers.len()).filter(move |server| self.servers[*server].region == region)
    }

    fn participants(&self, server: usize) -> u32 {
        self.servers[server].record.load.participants
    }

    fn users(&self) -> u32 {
        self.servers.iter().map(|server| server.record.load.participants).sum()
    }

    fn balances(&self) -> Vec<Balance> {
        let of = |region: usize| self.of_region(region).map(|server| self.participants(server)).collect();
        (0..self.region_ids.len()).map(|region| Balance::of(of(region))).collect()
    }

    fn lose(&mut self, lost: &[usize]) -> Moved {
        let is_concerned = |fleet: &Self, call: usize| {
            fleet.calls[call].people > 0 && fleet.calls[call].server.is_some_and(|at| lost.contains(&at))
        };
        let concerned: Vec<usize> = (0..self.calls.len()).filter(|call| is_concerned(self, *call)).collect();
        lost.iter().for_each(|server| self.kill(*server));
        self.follow(&concerned, lost, LOSS_S)
    }

    fn give_back(&mut self, lost: &[usize]) -> Moved {
        let concerned: Vec<usize> =
            self.nodes.iter().flat_map(|node| node.awaiting.iter().copied()).collect();
        for server in lost {
            let after = self.random.between(1, BACK_WITHIN_S * TICKS_PER_S);
            self.events.entry(self.tick + after).or_default().push(Event::Back { server: *server });
        }
        self.follow(&concerned, &[], BACK_S)
    }

    /// What becomes of these calls.
    fn follow(&mut self, concerned: &[usize], lost: &[usize], seconds: u64) -> Moved {
        self.watched = Watched::default();
        let people = concerned.iter().map(|call| self.calls[*call].people).sum();
        // By its number, since the place of one that is over is used again.
        let mut waiting: Vec<(usize, u64)> =
            concerned.iter().map(|call| (*call, self.calls[*call].id)).collect();
        let mut taken = vec![0; self.servers.len()];
        let mut placed_after = 0;
        for tick in 1..=seconds * TICKS_PER_S {
            self.step();
            waiting.retain(|(place, id)| {
                let call = &self.calls[*place];
                let found = call.server.filter(|at| !lost.contains(at) && call.id == *id);
                if let Some(server) = found {
                    taken[server] += call.people;
                    placed_after = tick;
                }
                // Whoever has left waits for nothing.
                found.is_none() && call.id == *id && call.people > 0
            });
        }
        Moved {
            guilds: concerned.len(),
            people,
            awaiting: self.people_awaiting(),
            placed_after_s: placed_after as f64 / TICKS_PER_S as f64,
            takers: taken.iter().filter(|people| **people > 0).count(),
            most_taken: taken.into_iter().max().unwrap_or_default(),
            watched: self.watched,
            over_capacity: self.over_capacity(),
        }
    }

    fn people_awaiting(&self) -> u32 {
        self.nodes.iter().flat_map(|node| &node.awaiting).map(|call| self.calls[*call].people).sum()
    }

    fn over_capacity(&self) -> usize {
        let is_over =
            |record: &cluster_wire::record::ServerRecord| record.load.participants > record.capacity;
        self.servers.iter().filter(|server| is_over(&server.record)).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} people in voice, {} guilds when it was filled", self.users, self.calls)?;
        writeln!(
            f,
            "\n| region | servers | filled: max/mean | steady: max/mean | p99/mean | deviation/mean |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for (region, name) in self.regions.iter().enumerate() {
            let (servers, filled, steady) = (self.servers[region], self.filled[region], self.steady[region]);
            writeln!(
                f,
                "| {name} | {servers} | {:.3} | {:.3} | {:.3} | {:.3} |",
                filled.max, steady.max, steady.p99, steady.deviation
            )?;
        }
        let watched = self.in_steady;
        writeln!(
            f,
            "\nsteady, of any server: {} guilds placed between two of its reports, {} clients connect in a second, {:.1} % of its capacity used",
            watched.guilds_between_reports,
            watched.arrivals_per_s,
            100.0 * watched.fullest
        )?;
        writeln!(
            f,
            "\n| | guilds | people | without a server at the end | the last placed after | servers that took them | people that one took | guilds, people placed on one between two reports | clients that connect to one in a second | fullest, of its capacity | servers over capacity at the end |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|---|---|")?;
        for (name, moved) in [
            ("a server is lost", &self.server_lost),
            ("a region is lost", &self.region_lost),
            ("it comes back", &self.region_back),
        ] {
            let watched = moved.watched;
            writeln!(
                f,
                "| {name} | {} | {} | {} | {:.1} s | {} | {} | {}, {} | {} | {:.0} % | {} |",
                moved.guilds,
                moved.people,
                moved.awaiting,
                moved.placed_after_s,
                moved.takers,
                moved.most_taken,
                watched.guilds_between_reports,
                watched.people_between_reports,
                watched.arrivals_per_s,
                100.0 * watched.fullest,
                moved.over_capacity
            )?;
        }
        Ok(())
    }
}
