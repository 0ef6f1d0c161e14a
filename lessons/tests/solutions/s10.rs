//! Page 10.
