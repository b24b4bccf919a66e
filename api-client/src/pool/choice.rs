//! Which connection a request goes by.

/// How full a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    /// Requests whose answer has not ended.
    pub(super) streams: usize,
    /// How many the server allows.
    pub(super) limit: usize,
    /// Whether it takes no new ones: it was lost, or the server wants it to end.
    pub(super) is_gone: bool,
}

/// The first connection, by age, that has room: the later ones, opened for a burst, then become idle and are closed. None if
/// another is to be opened.
pub(super) fn choose(loads: impl IntoIterator<Item = Load>) -> Option<usize> {
    loads.into_iter().position(|load| !load.is_gone && load.streams < load.limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(streams: usize, limit: usize) -> Load {
        Load { streams, limit, is_gone: false }
    }

    #[test]
    fn the_oldest_connection_with_room_is_used() {
        assert_eq!(choose([]), None);
        assert_eq!(choose([load(0, 2), load(0, 2)]), Some(0));
        assert_eq!(choose([load(2, 2), load(1, 2)]), Some(1));
        assert_eq!(choose([load(2, 2), load(2, 2)]), None);
        // A server may lower its limit while they are under way.
        assert_eq!(choose([load(3, 2)]), None);
        assert_eq!(choose([load(0, 0)]), None);
        let gone = Load { is_gone: true, ..load(0, 2) };
        assert_eq!(choose([gone, load(0, 2)]), Some(1));
    }
}
