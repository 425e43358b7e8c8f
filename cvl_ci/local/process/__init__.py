"""Real `cvl-ci` processes that a drill starts and kills."""
