//! A body that hands itself over only if its gate lets it through.

use crate::{
    clock::SteadyClock,
    latch::{Closed, Inside, Pass},
};
use bytes::Bytes;
use http_body::{Body, Frame};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

/// The body of a request
#[derive(Debug)]
pub(crate) struct Gated {
    data: Option<Bytes>,
    gate: Arc<Gate>,
}

impl Gated {
    pub(crate) fn new(data: Vec<u8>, gate: &Arc<Gate>) -> Self {
        Self { data: (!data.is_empty()).then(|| data.into()), gate: Arc::clone(gate) }
    }
}

impl Body for Gated {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        let Some(data) = self.data.take() else { return Poll::Ready(None) };
        Poll::Ready(Some(self.gate.pass().map(|()| Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

/// The pass of one message, and how far it got
#[derive(Debug)]
pub(crate) struct Gate {
    pass: Option<Pass>,
    clock: SteadyClock,
    // Written once, in the poll that hands over the first byte.
    state: Mutex<(GateState, Option<Inside>)>,
}

/// How far a message got
#[derive(Clone, Debug)]
pub(crate) enum GateState {
    /// No byte of it left
    Waiting,
    /// It began to leave
    Passed,
    /// It may not leave
    Refused(Closed),
}

impl Gate {
    pub(crate) fn new(pass: Option<Pass>, clock: SteadyClock) -> Arc<Self> {
        Arc::new(Self { pass, clock, state: Mutex::new((GateState::Waiting, None)) })
    }

    fn pass(&self) -> Result<(), Closed> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match self.pass.as_ref().map(|pass| pass.enter(self.clock.now())).transpose() {
            Ok(inside) => {
                *state = (GateState::Passed, inside);
                Ok(())
            }
            Err(closed) => {
                *state = (GateState::Refused(closed.clone()), None);
                Err(closed)
            }
        }
    }

    pub(crate) fn state(&self) -> GateState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// What was handed over has left
    pub(crate) fn leave(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = None;
    }

    /// The way of the same message once more, after the server said that it did nothing with it
    pub(crate) fn again(&self) -> Arc<Self> {
        Self::new(self.pass.as_ref().map(Pass::again), self.clock)
    }
}
