//! Page 12.
