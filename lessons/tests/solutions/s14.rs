//! Page 14.
