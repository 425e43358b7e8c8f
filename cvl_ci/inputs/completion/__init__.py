"""Shell completion: scripts for bash, zsh and fish as views of the table of inputs and verbs."""
