//! How many connections there may be of a kind: in all, and with something in common, such as an address.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

#[derive(Debug)]
pub struct Gate<K> {
    inside: Arc<Mutex<Inside<K>>>,
    all_max: usize,
    per_key_max: u32,
}

#[derive(Debug)]
struct Inside<K> {
    all: usize,
    by_key: HashMap<K, u32>,
}

/// A place held by one connection, until it is of the kind no more.
#[derive(Debug)]
pub struct Pass<K: Hash + Eq> {
    inside: Arc<Mutex<Inside<K>>>,
    key: K,
}

impl<K: Hash + Eq + Copy> Gate<K> {
    pub fn new(all_max: usize, per_key_max: u32) -> Self {
        let inside = Inside { all: 0, by_key: HashMap::new() };
        Self { inside: Arc::new(Mutex::new(inside)), all_max, per_key_max }
    }

    /// `None` when there is no place left.
    pub fn enter(&self, key: K) -> Option<Pass<K>> {
        let mut inside = self.inside.lock().expect("nothing panics under this lock");
        if inside.all >= self.all_max {
            return None;
        }
        let here = inside.by_key.get(&key).copied().unwrap_or(0);
        if here >= self.per_key_max {
            return None;
        }
        inside.by_key.insert(key, here + 1);
        inside.all += 1;
        Some(Pass { inside: self.inside.clone(), key })
    }
}

impl<K: Hash + Eq> Drop for Pass<K> {
    fn drop(&mut self) {
        let mut inside = self.inside.lock().expect("nothing panics under this lock");
        inside.all -= 1;
        if let Some(here) = inside.by_key.get_mut(&self.key) {
            *here -= 1;
            if *here == 0 {
                inside.by_key.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

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
        assert_eq!(gate.inside.lock().unwrap().by_key.len(), 2, "addresses are forgotten");
    }
}
