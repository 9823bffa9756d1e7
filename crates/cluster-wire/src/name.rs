//! Names that are constants where they are made, and stay so on the other side of a wire.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Deserializer, de};

/// By another name, because serde takes a reference for one into its input.
pub type Name = &'static str;

/// Different names in the life of a process. Because: each is kept for ever, and there are fewer than a hundred.
const NAMES_MAX: usize = 1_024;

static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// The one copy of this name. None when there are too many already, as no peer of ours has.
pub fn intern(name: &str) -> Option<Name> {
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name) {
        return Some(known);
    }
    if names.len() >= NAMES_MAX {
        return None;
    }
    let kept: Name = Box::leak(name.to_owned().into_boxed_str());
    names.insert(kept);
    Some(kept)
}

pub fn read<'de, D: Deserializer<'de>>(d: D) -> Result<Name, D::Error> {
    let name = String::deserialize(d)?;
    intern(&name).ok_or_else(|| de::Error::custom("too many different names"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once() {
        // Built twice, so that they are not one constant.
        let [first, second] = ["A", "A"].map(|letter| intern(&format!("{letter}_NAME")).unwrap());
        assert!(std::ptr::eq(first, second));
        assert_eq!(first, "A_NAME");
    }
}
