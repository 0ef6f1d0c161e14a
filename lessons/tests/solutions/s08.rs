//! Page 8.
