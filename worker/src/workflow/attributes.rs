//! The search attribute that an order keeps up to date if it is asked to, so that orders can be
//! listed and counted by where they stand. Pure.

use temporalio_common::search_attributes::{SearchAttributeKey, SearchAttributeUpdate};

use crate::order::OrderState;

/// Custom search attribute `OrderState`, of type Keyword: the state as the query `state` names it.
/// A namespace that does not have it refuses the workflow task that sets it, again and again, until
/// it does; therefore only orders whose input says `"search_attributes": true` set it.
pub const ORDER_STATE: SearchAttributeKey<String> = SearchAttributeKey::keyword("OrderState");

/// Sets the attribute to a state.
pub(super) fn to_state(state: OrderState) -> Option<SearchAttributeUpdate> {
    let name = serde_json::to_value(state).ok()?;
    ORDER_STATE.try_value_set(name.as_str()?.to_owned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attribute_holds_the_name_of_the_state() {
        let update = to_state(OrderState::OutOfStock).unwrap();
        assert_eq!(update.name(), "OrderState");
        assert!(!update.is_unset());
    }
}
