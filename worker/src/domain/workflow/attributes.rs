//! The search attribute that an order updates on request, so that orders can be listed and counted
//! by state. Pure.

use temporalio_common::search_attributes::{SearchAttributeKey, SearchAttributeUpdate};

use crate::domain::order::OrderState;

/// Custom search attribute `OrderState`, of type Keyword: the same state name as the query `state`
/// returns. In a namespace without this attribute, the workflow task that sets it fails and is
/// retried until the attribute exists. So only orders with `"search_attributes": true` in their
/// input set it.
pub const ORDER_STATE: SearchAttributeKey<String> = SearchAttributeKey::keyword("OrderState");

/// The update that sets the attribute to a state.
pub(super) fn to_state(state: OrderState) -> Option<SearchAttributeUpdate> {
    let name = serde_json::to_value(state).ok()?;
    ORDER_STATE.try_value_set(name.as_str()?.to_owned()).ok()
}

#[cfg(test)]
mod tests {
    use temporalio_common::search_attributes::SearchAttributes;

    use super::*;

    #[test]
    fn the_attribute_holds_the_name_of_the_state() {
        let held = SearchAttributes::new(to_state(OrderState::OutOfStock));
        assert_eq!(held.get(&ORDER_STATE).as_deref(), Some("out_of_stock"));
    }
}
