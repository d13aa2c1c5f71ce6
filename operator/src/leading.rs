//! Whether this process may write now. In memory.

use tokio::sync::watch;

/// What the leader lease allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Passes may run.
    Leads,
    /// The lease cannot be renewed: nothing is written, and the fleet states are kept.
    Suspended,
    /// The process no longer leads and never will again.
    Over,
}

/// Shared between the task that keeps the lease (sets it) and the passes (read it).
#[derive(Debug, Clone)]
pub struct Leading(watch::Sender<State>);

impl Default for Leading {
    /// Starts as leading.
    fn default() -> Self {
        Self(watch::Sender::new(State::Leads))
    }
}

impl Leading {
    /// Forbids writes until [`Leading::resume`].
    pub fn suspend(&self) {
        self.0.send_replace(State::Suspended);
    }

    /// Allows writes again.
    pub fn resume(&self) {
        self.0.send_replace(State::Leads);
    }

    /// Forbids writes for good.
    pub fn end(&self) {
        self.0.send_replace(State::Over);
    }

    /// Waits until writes are allowed. Returns false if they never will be.
    pub async fn begun(&self) -> bool {
        let mut state = self.0.subscribe();
        let state = state.wait_for(|state| *state != State::Suspended).await;
        state.is_ok_and(|state| *state == State::Leads)
    }

    /// Waits until writes are forbidden.
    pub async fn ended(&self) {
        let mut state = self.0.subscribe();
        // `self` holds the sender, so it cannot be gone.
        if state
            .wait_for(|state| *state != State::Leads)
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }
}
