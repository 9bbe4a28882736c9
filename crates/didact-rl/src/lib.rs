//! The RL optimizer for language-model teachers: advantages, losses, reference policy, optimizer and training step.
#![forbid(unsafe_code)]
