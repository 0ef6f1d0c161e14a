//! The layers around a route, as a `Router` calls them. Used by `routes`.

use std::sync::Arc;

use http::StatusCode;

use super::super::chain::Depth;
use super::super::layer::{Layer, Next};
use crate::http::error::Error;
use crate::http::request::{BodyPlan, Request};
use crate::http::response::{Response, Result};

/// Layers, outermost first.
#[derive(Default)]
pub(super) struct Layers(Vec<Arc<dyn Layer>>);

impl Layers {
    /// One more, around the others.
    pub(super) fn add(&mut self, layer: Arc<dyn Layer>) {
        self.0.insert(0, layer);
    }

    /// Those that stand around each of several routes.
    pub(super) fn shared_by<'a>(mut all: impl Iterator<Item = &'a Layers>) -> Layers {
        let mut shared = all.next().map(|first| first.0.clone()).unwrap_or_default();
        all.for_each(|other| shared.retain(|layer| other.0.iter().any(|known| Arc::ptr_eq(known, layer))));
        Layers(shared)
    }

    /// `depth`: of the router.
    pub(super) fn before_body(&self, request: &Request, plan: &mut BodyPlan, mut depth: Depth) -> Result<()> {
        for layer in &self.0 {
            depth = depth.inner()?;
            if !layer.verify_client(request.client()) {
                return Err(Error::new(StatusCode::FORBIDDEN, ""));
            }
            depth.reach(request)?;
            layer.before_body(request, plan)?;
            plan.layered = true;
        }
        Ok(())
    }

    /// What the function answers, and the layers make of it.
    pub(super) fn handle(
        &self,
        request: &Request,
        function: impl Fn(&Request) -> Result<Response>,
    ) -> Result<Response> {
        Next::function(&self.0, &function).run(request)
    }

    /// Those that were asked to accept this request, innermost first.
    pub(super) fn asked(&self, request: &Request, depth: Depth) -> impl Iterator<Item = &dyn Layer> {
        self.0[..depth.asked_inside(request, self.0.len())].iter().rev().map(|layer| &**layer)
    }
}
