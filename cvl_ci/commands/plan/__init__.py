"""The verb `plan`: from inputs to an exact plan and its price."""
