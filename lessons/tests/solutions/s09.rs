//! Page 9.
