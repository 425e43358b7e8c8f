"""The action's own image in real containers, as GitHub's runner and as act call it."""
