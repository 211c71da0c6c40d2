//! The queue before a rank, in the order of its discipline.

use std::collections::{BTreeSet, VecDeque};

use super::request::Slot;
use super::scheduler::Discipline;

/// Slots that wait. Those that lost their KV cache come back in front, but where the discipline itself takes it.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting {
    discipline: Discipline,
    returned: VecDeque<u32>,
    arrived: VecDeque<u32>,
    ranked: BTreeSet<(u64, u64, u32)>,
    /// Prompt tokens of all that wait.
    pub tokens: u64,
}

impl Waiting {
    pub fn new(discipline: Discipline) -> Self {
        Self { discipline, ..Self::default() }
    }

    pub fn len(&self) -> usize {
        self.returned.len() + self.arrived.len() + self.ranked.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn push(&mut self, index: u32, slot: &Slot) {
        self.tokens += u64::from(slot.target - slot.done);
        match self.discipline {
            Discipline::Fcfs => self.arrived.push_back(index),
            _ => {
                self.ranked.insert((slot.place(self.discipline), slot.number, index));
            }
        }
    }

    pub fn push_back_in_front(&mut self, index: u32, slot: &Slot) {
        if self.discipline.is_preemptive() {
            self.push(index, slot);
            return;
        }
        self.tokens += u64::from(slot.target - slot.done);
        self.returned.push_front(index);
    }

    /// The next, left where it is.
    pub fn first(&self) -> Option<u32> {
        self.returned
            .front()
            .or_else(|| self.arrived.front())
            .copied()
            .or_else(|| self.ranked.first().map(|(_, _, index)| *index))
    }

    /// All of them, the next one first.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.returned
            .iter()
            .chain(&self.arrived)
            .copied()
            .chain(self.ranked.iter().map(|(_, _, index)| *index))
    }

    /// Removes what [`Waiting::first`] shows.
    pub fn pop(&mut self, slot: &Slot) {
        self.tokens -= u64::from(slot.target - slot.done);
        if self.returned.pop_front().is_none() && self.arrived.pop_front().is_none() {
            self.ranked.pop_first();
        }
    }
}
