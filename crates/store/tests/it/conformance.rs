//! The suite that every store must pass.
//!
//! Another store plugs in with one line at the end of this file and a way to open it in
//! [`crate::world`]. Time is the world's manual clock.

mod abandoned;
mod accounts;
mod between;
mod booked;
mod caps;
mod carts;
mod commits;
mod currency;
mod events;
mod layouts;
mod lists;
mod messages;
mod nothing;
mod organizations;
mod races;
mod reseats;
mod runs;
mod seats;
mod sections;
mod selling;
mod series;
mod text;
mod upkeep;

use crate::world::Fresh;
use engine::log::Position;
use engine::{
    Booking, BookingId, By, Command, Committed, Error, EventId, EventWithSections, Fault, Hold,
    IdempotencyKey, LiveInventory, Outcome, Overrides, Policy, Refusal, SeatRequest, SectionId,
    UserId,
};
use std::sync::Arc;
use std::time::Duration;
use store::{CreationKey, Reckoning, Store};
use suite::world::{ManualClock, Mint, POLICY};

/// A fresh store, and all that tests make in it.
struct World {
    store: Arc<dyn Store>,
    clock: ManualClock,
    mint: Mint,
    fresh: Fresh,
}

/// An event on sale, with its sections in the order of their creation.
struct Sale {
    event_id: EventId,
    organizer_id: UserId,
    sections: Vec<SectionId>,
}

impl World {
    async fn on(open: impl AsyncFnOnce(Policy, &ManualClock) -> Fresh) -> Self {
        let clock = ManualClock::new();
        let fresh = open(POLICY, &clock).await;
        Self { store: fresh.store.clone(), mint: Mint::new(&clock), clock, fresh }
    }

    /// An event on sale with these sections, changed by `set` before it is recorded.
    async fn sale_with(
        &self,
        sections: &[(&str, i64)],
        set: impl FnOnce(&mut EventWithSections),
    ) -> Sale {
        let organizer_id = self.mint.user();
        let mut new = self.mint.event_on_sale(organizer_id);
        let event_id = new.event.terms.event_id;
        let made = sections.iter().map(|(name, _)| self.mint.section_of(event_id, name));
        new.sections = made.collect();
        set(&mut new);
        let capacities: Vec<_> = sections.iter().map(|(_, capacity)| *capacity).collect();
        self.store
            .create_event(&new, suite::world::owner(&new), &suite::world::opened(&capacities), None)
            .await
            .expect("the event is recorded");
        let sections = new.sections.iter().map(|section| section.section_id).collect();
        Sale { event_id, organizer_id, sections }
    }

    async fn sale(&self, sections: &[(&str, i64)]) -> Sale {
        self.sale_with(sections, |_| ()).await
    }

    /// A request of a new user for seats; sections are named by their place.
    fn hold(&self, sale: &Sale, requests: &[(usize, u32)]) -> Hold {
        let ask = |(place, seats): &(usize, u32)| SeatRequest::Count {
            section_id: sale.sections[*place],
            seats: *seats,
        };
        Hold {
            booking_id: self.mint.booking(sale.event_id),
            user_id: self.mint.user(),
            seller: None,
            overrides: Overrides::NONE,
            event_id: sale.event_id,
            requests: requests.iter().map(ask).collect(),
            key: None,
        }
    }

    /// Closes the store and opens it again, as after a restart.
    async fn reopen(&mut self) {
        self.store.close().await;
        let options = crate::world::options(POLICY, &self.clock);
        let opened = store::open_store(&self.fresh.address, options).await;
        self.store = opened.expect("the store opens");
    }

    async fn commit(&self, commands: &[Command]) -> Committed {
        self.store.commit(commands).await.expect("the store answers")
    }

    async fn commit_one(&self, command: Command) -> Result<Outcome, Refusal> {
        self.commit(&[command]).await.answers.pop().expect("one command, one answer")
    }

    /// Seats that a new user holds.
    async fn held(&self, sale: &Sale, requests: &[(usize, u32)]) -> Booking {
        booking(self.commit_one(Command::Hold(self.hold(sale, requests))).await)
    }

    /// Seats that a new user has bought.
    async fn sold(&self, sale: &Sale, requests: &[(usize, u32)]) -> Booking {
        let held = self.held(sale, requests).await;
        booking(self.commit_one(confirm(&held)).await)
    }

    async fn stored(&self, booking_id: BookingId) -> Option<Booking> {
        self.store.booking(booking_id).await.expect("the store answers")
    }

    async fn inventory(&self, sale: &Sale, place: usize) -> LiveInventory {
        let all = self.store.inventories(&[sale.event_id]).await.expect("the store answers");
        let found = all.into_iter().find(|it| it.inventory.section_id == sale.sections[place]);
        found.expect("every section has an inventory")
    }

    /// `(held, sold, available)` of a section as readers are shown them.
    async fn counters(&self, sale: &Sale, place: usize) -> (i64, i64, i64) {
        let LiveInventory { inventory, due } = self.inventory(sale, place).await;
        (inventory.held - due, inventory.sold, inventory.available() + due)
    }

    /// The reckoning once the log has settled: a transaction under way anywhere on a server keeps
    /// readers of the log waiting.
    async fn reckon(&self, cursor: Position) -> Reckoning {
        for _ in 0..1_000 {
            let reckoning = answered(self.store.reckon(cursor).await);
            if reckoning.unsettled.is_empty() {
                return reckoning;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the log never settles")
    }

    async fn assert_sound(&self) {
        let report = self.store.audit().await.expect("the store answers");
        assert!(report.is_clean(), "the audit finds {:?}", report.told);
    }
}

fn confirm(booking: &Booking) -> Command {
    Command::Confirm { booking_id: booking.booking_id, by: By::User(booking.user_id) }
}

fn release(booking: &Booking) -> Command {
    Command::Release { booking_id: booking.booking_id, by: By::User(booking.user_id) }
}

fn booking(answer: Result<Outcome, Refusal>) -> Booking {
    match answer {
        Ok(Outcome::Booking { booking, .. }) => booking,
        other => panic!("expected a booking, got {other:?}"),
    }
}

fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::new(text).expect("visible characters")
}

fn creation_key(user_id: UserId, text: &str, fingerprint: i64) -> CreationKey {
    CreationKey { user_id, key: key(text), fingerprint }
}

/// The refusal that a call met.
fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> Refusal {
    match result {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn answered<T>(result: Result<T, Fault>) -> T {
    result.expect("the store answers")
}

/// One test of every name, on one store.
macro_rules! tests {
    ($store:ident, $($suite:ident { $($test:ident),* $(,)? })*) => {
        mod $store {
            $(mod $suite {
                use crate::conformance::{World, $suite};
                $(#[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    $suite::$test(World::on(crate::world::$store).await).await;
                })*
            })*
        }
    };
}

/// The whole suite, on one store.
macro_rules! suite {
    ($store:ident) => {
        tests! { $store,
            accounts {
                an_address_belongs_to_one_account_whatever_its_case,
                of_many_registrations_of_one_address_at_once_one_wins,
                an_account_changes_its_name_and_its_address,
                a_refresh_token_is_exchanged_for_the_next_of_its_family,
                a_token_used_again_after_its_grace_ends_its_family,
                an_unknown_or_an_expired_token_is_refused,
                a_logout_ends_one_family,
                a_new_password_ends_all_families_of_its_user,
                the_end_of_all_logins_is_a_cutoff_after_what_was_issued,
                a_password_that_was_changed_meanwhile_opens_no_login,
                logins_exchanges_and_the_end_of_all_at_once_are_in_one_order,
            }
            events {
                an_event_is_given_back_as_it_was_recorded,
                a_creation_with_the_same_key_is_made_once,
                a_creation_key_is_kept_for_24_hours,
                a_draft_is_listed_for_its_organizer_only,
                a_list_of_places_has_the_newest_of_all_and_the_drafts_that_are_seen,
                i13_only_those_who_may_create_and_change_events_of_a_team,
                events_are_listed_newest_first_page_by_page_without_gaps,
                events_are_filtered_by_organizer_status_and_time,
                a_title_is_found_by_any_part_of_it_without_case,
                an_event_is_revised_at_the_version_its_organizer_saw,
                a_revision_is_made_whole_or_not_at_all,
                an_event_called_off_is_done_when_its_last_live_booking_is_cancelled,
                events_that_are_done_do_not_stand_before_those_that_are_not,
            }
            sections {
                a_section_is_added_at_the_end_of_its_event,
                a_section_with_the_name_or_the_currency_of_no_neighbour_is_refused,
                a_section_added_with_the_same_key_is_added_once,
                a_section_is_changed_by_the_organizer_of_its_event_only,
                a_capacity_below_the_seats_in_use_is_refused_with_the_smallest_one,
                a_change_of_a_section_is_made_whole_or_not_at_all,
                a_new_price_leaves_bookings_as_they_are,
            }
            currency {
                all_prices_of_an_event_get_another_currency_together,
                a_currency_stays_while_anything_is_held_or_sold,
                the_only_section_of_an_event_obeys_the_same_rule,
            }
            text {
                an_address_belongs_to_one_account_however_it_is_spelled,
                a_title_is_found_however_it_is_spelled,
                a_renewed_hash_leaves_logins_and_a_changed_password_alone,
                what_was_stored_before_is_found_and_collisions_are_kept,
            }
            commits {
                i1_no_batch_takes_more_than_there_is,
                i2_a_booking_moves_along_each_edge_once,
                i4_the_log_folds_to_the_counters_after_every_commit,
                i5_a_confirm_at_the_deadline_is_refused_before_any_sweep,
                i5_a_confirm_before_the_deadline_is_never_refused_for_lack_of_seats,
                i6_a_key_names_one_hold_as_long_as_its_booking_is_kept,
                i6_the_same_key_twice_in_a_batch_is_decided_once,
                i6_a_refusal_is_not_remembered,
                i7_what_is_refused_leaves_no_row,
                i7_a_batch_is_committed_whole_or_not_at_all,
                a_bad_command_does_not_fail_its_neighbours,
                a_commit_tells_what_it_locked_and_what_it_changed,
                a_batch_of_nothing_changes_nothing,
                a_batch_of_512_commands_for_many_sections_is_committed_at_once,
            }
            booked {
                a_booking_is_given_back_as_it_was_answered,
                bookings_are_listed_newest_first_page_by_page_without_gaps,
                bookings_are_filtered_by_user_event_and_status,
                a_due_hold_is_listed_as_expired_and_no_more_as_a_hold,
                due_seats_are_shown_apart_until_they_are_given_back,
                the_counters_of_many_events_are_read_at_once,
                keys_are_told_with_what_they_name,
            }
            caps {
                a_cap_that_comes_later_counts_what_was_there,
                an_event_with_a_cap_from_the_beginning_counts_also_without_it,
            }
            selling {
                i6_the_key_of_a_sale_is_the_sellers,
                i13_who_may_not_sell_leaves_neither_a_booking_nor_a_key,
                a_seller_takes_from_what_the_buyer_may_have_and_is_named_by_the_log,
                the_limits_that_a_seller_goes_beyond_are_in_the_log,
            }
            between {
                changed_terms_of_an_event_are_those_of_the_next_batch,
                changed_sections_are_those_of_the_next_batch,
                another_currency_and_a_new_layout_are_those_of_the_next_batch,
                what_somebody_else_writes_is_seen_by_the_next_batch,
                the_next_expiry_is_that_of_the_index_after_every_batch,
            }
            races {
                i1_many_commits_at_once_never_oversell,
                i1_holds_releases_and_confirms_at_once_leave_the_books_balanced,
                i6_many_equal_requests_at_once_make_one_booking,
                of_a_release_and_a_confirm_at_once_one_wins,
                readers_beside_a_writer_see_whole_batches_only,
            }
            seats {
                i3_seats_are_held_by_name_all_or_none,
                i3_of_two_who_name_a_seat_in_one_batch_the_first_gets_it,
                a_seat_that_is_named_twice_is_a_duplicate_in_any_spelling,
                the_best_available_seats_are_those_that_were_asked_for,
                a_party_is_split_across_sections_when_there_is_no_other_way,
                a_hold_that_would_leave_a_single_seat_is_refused_where_the_event_says_so,
                i6_a_retry_gets_the_same_seats_and_hears_whether_they_are_together,
                seats_with_numbers_are_not_resized_blocked_by_count_or_priced,
            }
            carts {
                a_cart_of_both_kinds_is_held_whole_or_not_at_all,
                i5_seats_of_a_hold_that_is_over_are_given_to_whoever_comes,
                seats_come_back_from_whoever_cancels,
                the_cap_of_a_buyer_counts_seats_of_both_kinds,
            }
            reseats {
                a_hold_is_given_other_seats_all_or_none,
                a_hold_above_a_lowered_cap_may_keep_its_seats_or_have_fewer,
                only_a_live_hold_is_changed_and_by_its_buyer_alone,
                i3_a_seat_goes_from_hand_to_hand_within_a_batch,
                the_best_seats_for_a_change_may_be_its_own,
                a_change_keeps_the_price_of_the_seats_it_keeps,
                blocked_seats_are_those_that_were_named_last,
            }
            nothing {
                an_event_or_a_section_that_stays_as_it_is_keeps_its_version,
                seats_that_stay_as_they_are_leave_nothing_behind,
            }
            layouts {
                a_layout_is_given_back_as_it_was_laid_also_after_a_restart,
                a_category_without_a_seat_is_kept_with_its_layout,
                a_section_that_counts_its_seats_is_laid_when_none_is_in_use,
                i3_a_new_layout_neither_moves_nor_removes_a_seat_somebody_has,
                a_layout_is_laid_between_the_commands_of_a_batch,
            }
            lists {
                a_listed_event_has_the_sums_of_its_sections,
                the_highest_price_of_a_layout_is_known_also_of_one_laid_before_it_was_noted,
                a_page_of_bookings_ends_by_bytes_and_the_next_goes_on_behind_it,
            }
            messages {
                a_message_says_what_was_so_at_its_version,
                the_versions_of_a_section_rise_by_one_from_message_to_message,
                pages_of_any_size_have_the_same_messages,
                a_cursor_of_an_unknown_timeline_is_refused,
                another_epoch_opens_a_timeline_and_readers_go_on_in_it,
                i7_what_is_refused_or_replayed_makes_no_message,
            }
            series {
                a_series_is_recorded_listed_and_renamed_by_its_organizer,
                a_series_created_with_the_same_key_is_created_once,
                an_event_is_in_a_series_of_its_organizer_from_its_creation_on,
                an_event_in_no_series_of_its_organizer_is_refused_whole,
            }
            organizations {
                a_team_founded_with_the_same_key_is_founded_once,
                an_organization_is_renamed_at_the_version_its_editor_saw,
                an_invitation_is_accepted_or_taken_back_once,
                members_are_changed_and_removed_and_leave,
                a_personal_organization_gets_its_row_with_its_first_change,
                somebody_is_told_the_organizations_they_are_in,
                old_invitations_are_removed_and_their_members_stay,
                users_are_found_by_their_ids,
                i14_of_two_owners_who_leave_at_once_one_stays,
                an_invitation_accepted_many_times_at_once_makes_one_member,
                nobody_joins_too_many_organizations_at_once,
                a_roster_beside_a_change_is_of_one_moment,
                the_access_log_says_who_changed_what_by_which_request,
                an_access_log_is_read_page_by_page_and_by_actor_and_action,
                a_filtered_access_log_is_looked_through_in_parts,
                a_key_is_read_as_it_was_made_and_found_by_its_secret,
                a_key_made_with_the_same_key_is_made_once,
                a_key_is_changed_rotated_and_ended_by_its_rules,
                the_keys_of_a_member_who_is_removed_stay_or_end_as_was_said,
                the_last_use_of_a_key_is_written_once_a_minute,
                ended_keys_are_removed_after_a_while,
                what_is_stored_of_organizations_is_read_at_once,
                who_leaves_is_erased_and_the_address_is_free,
                i14_the_only_owner_of_a_team_does_not_leave,
                who_has_events_that_are_open_does_not_leave,
                an_operator_is_added_once_and_removed,
                there_are_only_so_many_operators,
                the_whole_access_log_is_that_of_all_organizations_in_their_order,
                an_event_goes_to_another_organization_and_leaves_its_series,
                i13_after_a_transfer_the_organization_of_before_changes_nothing,
                a_transfer_is_made_once_whatever_comes_after_it,
                a_transfer_that_is_refused_changes_nothing,
                i13_what_the_organization_of_before_does_comes_before_the_transfer,
            }
            runs {
                a_packed_log_says_what_its_rows_did,
                a_page_of_messages_may_end_inside_a_run,
                a_damaged_run_is_named_by_every_reader,
                i4_messages_of_mixed_batches_come_in_the_order_of_all_versions,
                a_schema_of_before_gets_a_row_for_each_entry_of_a_run,
            }
            upkeep {
                sections_with_due_holds_are_told_longest_overdue_first,
                counters_that_contradict_bookings_are_not_decided_on,
                the_reckoning_goes_on_from_its_cursor,
                the_audit_counts_what_it_has_looked_at,
                old_keys_and_tokens_are_removed_and_no_others,
                a_cutoff_is_removed_when_no_token_can_live_that_it_ends,
                the_schema_goes_down_and_up_again,
                every_migration_says_what_taking_it_back_deletes,
                the_store_tells_its_clock_and_that_it_answers,
            }
            abandoned {
                a_commit_nobody_waits_for_happens_whole_or_not_at_all,
                an_account_write_nobody_waits_for_leaves_the_store_usable,
                an_event_write_nobody_waits_for_leaves_the_store_usable,
                a_read_nobody_waits_for_leaves_the_store_usable,
            }
        }
    };
}

suite!(sqlite);
suite!(postgres);
