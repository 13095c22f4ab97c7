/** What the lab's guests do at times of their own, whatever the profile: a bound has to know it too. Milliseconds. */

/** Between two looks at a learner, until etcd lets it be promoted; RKE2's own ticker looks every 15 s. */
export const learnerEvery = 50;
