//! Chance that can be repeated.

/// A stream of numbers that follows from its seed, whatever the version of any crate (`SplitMix64`).
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    /// True once in so many times.
    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of these, if there are any.
    pub(super) fn pick<T>(&mut self, from: impl IntoIterator<Item = T>) -> Option<T> {
        let mut from: Vec<_> = from.into_iter().collect();
        if from.is_empty() { None } else { Some(from.swap_remove(self.below(from.len()))) }
    }

    /// Some of these, at least one.
    pub(super) fn some<T>(&mut self, from: impl IntoIterator<Item = T>) -> Vec<T> {
        let from: Vec<_> = from.into_iter().collect();
        let sure = self.below(from.len());
        from.into_iter()
            .enumerate()
            .filter_map(|(at, one)| (at == sure || self.once_in(3)).then_some(one))
            .collect()
    }
}
