//! The layers around a route, as a `Router` calls them. Used by `routes`.

use std::sync::Arc;

use super::super::chain::Depth;
use super::super::layer::{Layer, Next, accept};
use crate::http::request::{BodyPlan, Request};
use crate::http::response::{Response, Result};

/// Layers, outermost first.
#[derive(Default)]
pub(super) struct Layers(Vec<Arc<dyn Layer>>);

impl Layers {
    pub(super) const NONE: Layers = Layers(Vec::new());

    pub(super) fn add(&mut self, layer: Arc<dyn Layer>) {
        self.0.insert(0, layer);
    }

    pub(super) fn shared_by<'a>(mut all: impl Iterator<Item = &'a Layers>) -> Layers {
        let mut shared = all.next().map(|first| first.0.clone()).unwrap_or_default();
        all.for_each(|other| shared.retain(|layer| other.0.iter().any(|known| Arc::ptr_eq(known, layer))));
        Layers(shared)
    }

    /// Calls all layers with the head. `depth` is the router's. Returns the depth of the innermost layer.
    pub(super) fn ask_first<'d>(
        &self,
        request: &Request,
        plan: &mut BodyPlan,
        mut depth: Depth<'d>,
    ) -> Result<Depth<'d>> {
        for layer in &self.0 {
            depth = depth.inner()?;
            depth.ask_first(request, plan, |plan| accept(&**layer, request, plan))?;
            plan.layered = true;
        }
        Ok(depth)
    }

    /// Calls the layers, and the endpoint inside them. Returns their response.
    pub(super) fn handle(
        &self,
        request: &Request,
        depth: Depth<'_>,
        endpoint: impl Fn(&Request, Depth<'_>) -> Result<Response>,
    ) -> Result<Response> {
        Next::endpoint(&self.0, &endpoint, depth).run(request)
    }

    /// Returns the layers that were called for this request, innermost first.
    pub(super) fn asked(&self, request: &Request, depth: Depth<'_>) -> impl Iterator<Item = &dyn Layer> {
        self.0[..depth.asked_inside(request, self.0.len())].iter().rev().map(|layer| &**layer)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
