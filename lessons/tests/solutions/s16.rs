//! Page 16.
