//! Real clients and peers against the running program.
