//! What goes wrong in a run.

use super::{Machine, State};
use crate::world::{Fate, Unreachable};
use std::sync::atomic::Ordering;

impl Machine {
    /// Whether nothing is in the way in this run: then nothing is unknown.
    pub(super) fn is_calm(&self) -> bool {
        let swarm = &self.swarm;
        let faults = [
            swarm.cuts,
            swarm.lost,
            swarm.delays,
            swarm.crashes,
            swarm.freezes,
            swarm.outages,
            swarm.panics,
        ];
        faults.iter().all(|fault| *fault == 0) && swarm.ticks == 0
    }

    pub(super) fn fate(&mut self, at: usize) -> Option<Fate> {
        let commits = self.world.lock().pending[at].step.commits();
        if commits && self.swarm.lost > 0 && self.choices.happens("lost", self.swarm.lost) {
            let late = [20, 300, 2_400][self.choices.pick("late", 3)];
            return Some([Fate::CutAfter, Fate::CutLater(late)][self.choices.pick("when", 2)]);
        }
        if self.swarm.cuts > 0 && self.choices.happens("cut", self.swarm.cuts) {
            let late = [300, 1_200, 2_400][self.choices.pick("late", 3)];
            let later = if commits { Fate::CutLater(late) } else { Fate::CutBefore };
            let fates = [Fate::CutBefore, Fate::CutAfter, Fate::Late(late), later];
            return Some(fates[self.choices.pick("when", 4)]);
        }
        if self.swarm.delays > 0 && self.choices.happens("delay", self.swarm.delays) {
            let ms = [20, 300, 1_700, 6_000][self.choices.pick("for", 4)];
            let now = self.world.now();
            self.world.lock().pending[at].not_before = now.plus_ms(ms);
            self.tell(|| format!("step {at} is {ms} ms late"));
            return None;
        }
        Some(Fate::Happens)
    }

    pub(super) fn faults(&mut self) {
        if self.swarm.crashes > 0 && self.choices.happens("crash", self.swarm.crashes) {
            let no = self.choices.pick("which", self.instances.len());
            self.crash(no);
            self.start(no);
        }
        if self.swarm.freezes > 0 && self.choices.happens("freeze", self.swarm.freezes) {
            let no = self.choices.pick("which", self.instances.len());
            let ms = [200, 1_800, 4_000][self.choices.pick("for", 3)];
            self.instances[no].frozen_until_ms = self.world.lasts_ms() + ms;
            self.tell(|| format!("instance {no} freezes for {ms} ms"));
            self.note("freeze");
        }
        if self.swarm.panics > 0 && self.choices.happens("panic", self.swarm.panics) {
            let no = self.choices.pick("which", self.instances.len());
            let parts = self.instances[no].parts.as_ref();
            if let Some(panics) = parts.and_then(|parts| parts.panics.as_ref()) {
                panics.store(true, Ordering::Relaxed);
                self.tell(|| format!("the gate of instance {no} will panic"));
            }
        }
        if self.swarm.spoils > 0 && self.choices.happens("spoil", self.swarm.spoils) {
            let section_id = self.sections[self.choices.pick("whose", self.sections.len())];
            self.world.lock().database.spoil_marks(section_id);
            self.tell(|| "somebody spoils the marks of a section".to_owned());
            self.note("spoiled marks");
        }
        if self.swarm.outages > 0 && self.choices.happens("outage", self.swarm.outages) {
            let ms = [50, 900, 3_000][self.choices.pick("for", 3)];
            let how = [Unreachable::Down, Unreachable::Crowded][self.choices.pick("how", 2)];
            let until = self.world.now().plus_ms(ms);
            let mut inner = self.world.lock();
            (inner.down_until, inner.down_as) = (until, how);
            drop(inner);
            self.tell(|| format!("nobody gets a session for {ms} ms: {how:?}"));
            self.note("outage");
        }
    }

    pub(super) fn crash(&mut self, no: usize) {
        self.tell(|| format!("instance {no} crashes"));
        self.note("crash");
        self.checks.crashed(no);
        self.instances[no].parts = None;
        drop(self.instances[no].runtime.take());
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.instance == no) {
            if matches!(attempt.state, State::Asked) {
                attempt.state = State::Lost;
            }
        }
        // What it still wanted to say was heard by nobody.
        let mut inner = self.world.lock();
        inner.answers.retain(|answered| self.attempts[answered.attempt].instance != no);
        inner.worked.retain(|worked| worked.instance != no);
        inner.organized.retain(|organized| organized.instance != no);
    }
}
