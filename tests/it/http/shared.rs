//! Clusters that claims of this room share, one for each set-up. A claim stands in the file of what it is about.

use super::{
    bodies, deadlines, failing_origin, greedy_clients, grpc, keys, many_keys, protocol,
    slow_clients, stampede, values,
};
use crate::harness::claims::claims;
use crate::harness::cluster::Cluster;
use crate::harness::setup::{Setup, group};

/// Groups with the rules that are usual here.
fn usual(names: &[&str]) -> String {
    let groups = names.iter().map(|name| group(name, "ttl = '60s'"));
    groups.collect()
}

#[tokio::test]
async fn values_keys_many_keys_bodies_protocol_grpc_with_defaults() {
    let values = usual(&["once", "deleted", "head", "etag", "missing"]);
    let others = usual(&["scores", "thousand", "unary"]);
    let groups = [
        values,
        others,
        group("stale", "ttl = '60s'\nstale = '60s'"),
        keys::groups(),
        bodies::groups(),
        failing_origin::groups(),
    ];
    let cluster = Cluster::start(Setup {
        groups: groups.concat(),
        rows: keys::rows() + &bodies::rows(),
        ..Setup::default()
    })
    .await;
    claims!(cluster;
        values::a_value_is_loaded_once_and_then_served_by_both_frontends,
        values::a_deleted_key_is_loaded_again,
        values::an_expired_key_is_served_stale_while_it_is_refreshed,
        values::head_tells_of_the_value_without_it,
        values::a_known_etag_is_answered_304_without_a_body,
        values::what_is_missing_says_what_it_is,
        keys::a_key_may_hold_every_byte,
        keys::keys_that_differ_in_one_byte_are_different_keys,
        keys::a_key_may_have_512_bytes_and_no_more,
        keys::a_malformed_key_is_refused_with_what_is_wrong,
        keys::every_name_of_a_group_can_be_asked_for_also_by_the_commands,
        many_keys::many_keys_are_answered_in_the_order_asked,
        many_keys::a_thousand_keys_are_loaded_once_each_in_few_calls,
        many_keys::a_body_that_does_not_list_keys_is_refused_with_what_is_wrong,
        bodies::a_client_that_sends_all_of_a_large_body_first_still_reads_why_it_is_refused,
        bodies::a_value_larger_than_the_group_keeps_is_served_and_not_stored,
        protocol::a_method_that_is_not_there_is_told_which_are,
        protocol::every_process_tells_that_it_lives_and_is_ready,
        protocol::pipelined_requests_are_answered_in_order,
        protocol::an_answer_does_not_wait_for_the_rest_of_the_next_request,
        protocol::a_head_that_is_no_http_is_refused_and_others_are_served,
        failing_origin::a_group_that_the_origin_lacks_is_502_and_the_others_are_served,
        greedy_clients::a_grpc_connection_that_does_not_begin_loses_its_place,
        grpc::only_its_owner_answers_a_look_up_and_the_others_say_by_which_epoch,
        stampede::a_frontend_takes_more_clients_than_its_soft_limit_of_open_files,
    );
}

#[tokio::test]
async fn values_deadlines_failing_origin_stampede_with_an_origin_that_takes_a_second() {
    let set = ["node.max_waiters_per_key=10", "origin.memory_latency=1s"];
    let cluster = Cluster::start(Setup {
        groups: usual(&["scores", "cold", "overtaken", "slow", "crowded"]),
        ..Setup::with(&set)
    })
    .await;
    claims!(cluster;
        values::a_cold_key_asked_of_both_frontends_at_once_is_one_load,
        values::a_delete_while_a_load_runs_keeps_its_result_out_of_the_cache,
        deadlines::a_load_goes_on_when_all_its_callers_have_left,
        failing_origin::a_slow_origin_is_not_an_unreachable_owner,
        stampede::callers_beyond_the_bound_of_one_load_are_refused_at_once,
    );
}

#[tokio::test]
async fn bodies_many_keys_slow_clients_stampede_with_small_limits() {
    let set = [
        "frontend.max_body_bytes=1KiB",
        "frontend.body_timeout=200ms",
        "frontend.multi_get_max_keys=5",
        "frontend.header_timeout=500ms",
        "frontend.max_connections=10",
    ];
    let cluster = Cluster::start(Setup {
        nodes: 1,
        frontends: 1,
        ..Setup::with(&set)
    })
    .await;
    claims!(cluster;
        bodies::a_body_said_to_be_too_large_is_refused_before_it_is_sent,
        bodies::a_body_that_grows_too_large_is_refused,
        bodies::a_body_that_does_not_arrive_in_time_is_refused,
        many_keys::no_keys_are_no_results_and_too_many_are_refused,
        slow_clients::a_client_that_trickles_its_head_is_closed_while_others_are_served,
        slow_clients::clients_that_leave_without_reading_give_their_places_back,
        stampede::more_clients_than_a_frontend_takes_wait_for_a_place,
    );
}

#[tokio::test]
async fn bodies_slow_clients_greedy_clients_with_small_messages_and_answers() {
    let set = [
        "frontend.idle_timeout=500ms",
        "frontend.multi_get_max_bytes=1KiB",
        "pipeline.max_message=256KiB",
    ];
    let cluster = Cluster::start(Setup {
        frontends: 1,
        groups: usual(&["scores"]) + &bodies::groups(),
        rows: bodies::rows(),
        ..Setup::with(&set)
    })
    .await;
    claims!(cluster;
        bodies::a_value_larger_than_a_message_is_413_and_the_pipeline_goes_on,
        greedy_clients::the_values_of_one_answer_to_many_keys_are_bounded_together,
        slow_clients::a_silent_connection_is_closed_after_the_idle_time_and_hurts_nobody,
    );
}

#[tokio::test]
async fn grpc_with_one_node_whose_origin_is_slow() {
    let cluster = Cluster::start(Setup {
        nodes: 1,
        frontends: 1,
        ..Setup::with(&["origin.memory_latency=500ms"])
    })
    .await;
    claims!(cluster;
        grpc::a_ping_is_answered_ahead_of_the_calls_it_came_with,
        grpc::a_look_up_that_cannot_have_a_value_says_why,
        grpc::a_node_tells_its_health_and_its_services,
        grpc::a_malformed_message_ends_its_own_pipeline_and_no_other,
    );
}
