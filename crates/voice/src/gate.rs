//! How many connections may be on their way in: in all, and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone)]
pub struct Gate {
    inside: Arc<Mutex<Inside>>,
    all_max: usize,
    per_address_max: u32,
}

#[derive(Debug, Default)]
struct Inside {
    all: usize,
    by_address: HashMap<IpAddr, u32>,
}

/// A place held by one connection until it has shown who it is, or ends.
#[derive(Debug)]
pub struct Pass {
    inside: Arc<Mutex<Inside>>,
    address: IpAddr,
}

impl Gate {
    pub fn new(all_max: usize, per_address_max: u32) -> Self {
        Self { inside: Arc::default(), all_max, per_address_max }
    }

    /// `None` when there is no place left.
    pub fn enter(&self, address: IpAddr) -> Option<Pass> {
        let mut inside = self.inside.lock().expect("nothing panics under this lock");
        if inside.all >= self.all_max {
            return None;
        }
        let here = inside.by_address.get(&address).copied().unwrap_or(0);
        if here >= self.per_address_max {
            return None;
        }
        inside.by_address.insert(address, here + 1);
        inside.all += 1;
        Some(Pass { inside: self.inside.clone(), address })
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut inside = self.inside.lock().expect("nothing panics under this lock");
        inside.all -= 1;
        if let Some(here) = inside.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                inside.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_address_and_in_all_and_given_back() {
        let gate = Gate::new(3, 2);
        let address = |n| IpAddr::from([10, 0, 0, n]);
        let first = gate.enter(address(1)).unwrap();
        let _second = gate.enter(address(1)).unwrap();
        assert!(gate.enter(address(1)).is_none(), "two from one address");
        let _third = gate.enter(address(2)).unwrap();
        assert!(gate.enter(address(3)).is_none(), "three in all");
        drop(first);
        assert!(gate.enter(address(1)).is_some());
        assert_eq!(gate.inside.lock().unwrap().by_address.len(), 2, "addresses are forgotten");
    }
}
