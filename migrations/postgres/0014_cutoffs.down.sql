-- Lost: which access tokens were ended. Those that have not expired are good again.
DROP TABLE token_cutoffs;
