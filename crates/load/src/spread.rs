//! Where samples lie.

use serde::Serialize;

use crate::histogram::Histogram;

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

impl Spread {
    pub fn of(samples: &Histogram) -> Self {
        Self { p50: samples.quantile_ms(0.5), p99: samples.quantile_ms(0.99), max: samples.quantile_ms(1.0) }
    }
}
