//! Page 11.
