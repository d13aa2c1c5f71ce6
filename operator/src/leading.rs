//! Whether this process may write now. In memory.

use tokio::sync::watch;

/// What the leader lease allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Passes run.
    Leads,
    /// The lease is out of reach: nothing is written, and what is known is kept.
    Suspended,
    /// It does not lead any more, and will not again.
    Over,
}

/// Shared between whoever keeps the lease (says) and the passes (ask).
#[derive(Debug, Clone)]
pub struct Leading(watch::Sender<State>);

impl Default for Leading {
    /// It leads.
    fn default() -> Self {
        Self(watch::Sender::new(State::Leads))
    }
}

impl Leading {
    /// Nothing may be written until [`Leading::resume`].
    pub fn suspend(&self) {
        self.0.send_replace(State::Suspended);
    }

    /// Goes on.
    pub fn resume(&self) {
        self.0.send_replace(State::Leads);
    }

    /// Nothing is written any more, ever.
    pub fn end(&self) {
        self.0.send_replace(State::Over);
    }

    /// Waits until something may be written. False if that will not be.
    pub async fn begun(&self) -> bool {
        let mut state = self.0.subscribe();
        let state = state.wait_for(|state| *state != State::Suspended).await;
        state.is_ok_and(|state| *state == State::Leads)
    }

    /// Waits until nothing may be written.
    pub async fn ended(&self) {
        let mut state = self.0.subscribe();
        // The sender is in `self`: it cannot be gone.
        if state
            .wait_for(|state| *state != State::Leads)
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }
}
