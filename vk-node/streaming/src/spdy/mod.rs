//! SPDY/3.1, as much of it as Kubernetes' clients speak: see [the
//! specification](https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/). Their library,
//! [spdystream](https://github.com/moby/spdystream), neither keeps to the flow control nor sends settings, and closes a
//! connection on which it sees what it does not know. So this does without both, too.

mod connection;
mod dictionary;
mod frame;
mod headers;
mod stream;

pub use connection::{Connection, Incoming};
pub use frame::{Codec, Frame, MAX_CONTROL_BYTES, MAX_PIECE_BYTES, Malformed, ResetStatus, StreamId};
pub use headers::{Headers, MAX_HEADER_BYTES, MalformedHeaders};
pub use stream::{Received, StreamInput, StreamOutput};
