//! What a dispatch is but for its number: one for all who are sent it, and for what they keep of it for a resume.

use std::sync::Arc;

use cluster_wire::guilds::Json;

/// Guilds has encoded the payload; the number is a session's own.
#[derive(Debug)]
pub struct Body {
    pub t: &'static str,
    pub d: Json,
}

impl Body {
    pub fn new(t: &'static str, d: impl Into<Json>) -> Arc<Self> {
        Arc::new(Self { t, d: d.into() })
    }

    pub fn payload_bytes(&self) -> usize {
        self.d.get().len()
    }
}
