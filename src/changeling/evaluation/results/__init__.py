"""From scores to a Result: tables, pictures, and the leaderboard on a terminal."""
