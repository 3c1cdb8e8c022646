//! Development: transcript runner, failing store, sample mail. Still to be written.
