//! The node through whole conversations, in virtual time.

mod events;
mod identify;
mod lifetime;
mod others;
mod resume;
mod world;
