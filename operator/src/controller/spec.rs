//! Parses the spec of a fleet, once per generation and edge of its schedules. Pure, but for the
//! result that it keeps in the fleet state.

use std::sync::Arc;
use std::time::Duration;

use taskqueue_api::{Fleet, GuardedFleet, validate};

use crate::clock::Moment;
use crate::fleet_state::{Accepted, FleetState};

/// The fleet that an object describes, or everything that is wrong with it. Parsed once per
/// generation of its spec, pause and edge of its schedules.
pub(super) fn accepted(
    object: &GuardedFleet,
    state: &mut FleetState,
    now: Moment,
) -> Result<Arc<Fleet>, String> {
    let resource = object.0.as_ref().map_err(|malformed| {
        format!(
            "the resource cannot be read: {}; correct it, or apply it again with the current CRD",
            malformed.error
        )
    })?;
    let kept = state.accepted.as_ref();
    let generation = resource.metadata.generation;
    let paused = validate::is_paused(&resource.metadata);
    let kept = kept.filter(|kept| kept.holds(generation, paused, now.wall));
    if let Some(kept) = kept {
        return Ok(Arc::clone(&kept.fleet));
    }
    let fleet = validate(resource).map_err(|errors| {
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        all.join("; ")
    })?;
    let accepted = state.accepted.insert(Accepted::at(fleet, now.wall));
    Ok(Arc::clone(&accepted.fleet))
}

/// How long until a schedule may ask for another minimum; [`Duration::MAX`] if none does.
pub(super) fn until_schedule(state: &FleetState, now: Moment) -> Duration {
    let change = state.accepted.as_ref().and_then(|accepted| accepted.until);
    change.map_or(Duration::MAX, |change| {
        change.duration_since(now.wall).unsigned_abs()
    })
}
