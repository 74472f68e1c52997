//! The pages of `docs/reasons`, as they were when this was built.

macro_rules! pages {
    ($($word:ident)*) => {
        /// A page for each word, in the order of the words
        pub(super) const PAGES: &[(&str, &str)] = &[$((
            stringify!($word),
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reasons/", stringify!($word), ".md")),
        )),*];
    };
}

// The tests hold this against the words and against the files.
pages! {
    task_over
    task_unknown
    tenant_stopped
    agent_stopped
    user_stopped
    purpose_stopped
    connector_stopped
    policy_unavailable
    calls_spent
    bytes_spent
    tool_outside_purpose
    method_not_enforced
    connector_changed
    definition_missing
    definition_changed
    continuation_unknown
    arguments_invalid
    target_unclear
    argument_unclear
    argument_outside_task
    argument_not_named
    rule_forbids
    rule_failed
    outside_refuses
    above_ceiling
    class_not_open
    credential_class
    credential_outlives
    credential_scope
    out_of_order
    count_spent
    approval_needed
    nobody_to_ask
    approval_declined
    too_long_to_show
    argument_not_shown
    elevation_refused
    not_yours
    role_missing
    own_rights
    agent_unknown
    agent_overdue
    proof_wrong
    user_unknown
    purpose_unknown
    purpose_not_open
    purpose_overdue
    parameter_unknown
    parameter_missing
    parameter_outside_purpose
    run_has_task
    too_deep
    hold_unknown
    hold_over
    hold_changed
    not_approver
    own_call
    answered_already
    step_up_needed
    answer_unbounded
    review_unknown
    undo_impossible
    grant_unknown
    grant_unbounded
    too_many_open
    bytes_held
    too_many_tasks
    too_many_grants
    too_many_holds
    outside_silent
    outside_failed
    too_many_leases
    credential_unavailable
    paused
    clock_unreliable
    withheld
    record_full
    record_unavailable
    outcome_unknown
    connector_unreachable
    connector_rejected
    answer_withheld
    done_already
    call_under_way
}
